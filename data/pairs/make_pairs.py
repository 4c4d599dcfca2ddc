#!/usr/bin/env python3
"""Writes the minimal pairs en.jsonl, de.jsonl, sv.jsonl, nl.jsonl and fr.jsonl of this folder.

Each pair is a grammatical sentence in the words of manual pages and the same sentence with one word of another
number, gender or form, so that it has no grammatical reading (in Dutch and German the object could be taken for a
subject: there, verbs that are tested for number take no object, or one in the accusative). `--check` writes nothing
and fails when a file differs from what would be written.
"""

import json
import os
import random
import sys

PER_PHENOMENON = 45


def capital(text):
    return text[0].upper() + text[1:]


# --- English: noun (singular, plural), verb (singular, plural) -------------------------------------------------------

EN_THINGS = [("file", "files"), ("directory", "directories"), ("option", "options"), ("command", "commands"),
             ("argument", "arguments"), ("line", "lines"), ("value", "values"), ("variable", "variables"),
             ("function", "functions"), ("process", "processes"), ("string", "strings"), ("field", "fields"),
             ("message", "messages"), ("signal", "signals"), ("page", "pages"), ("name", "names"), ("key", "keys"),
             ("table", "tables"), ("address", "addresses"), ("pattern", "patterns"), ("character", "characters")]
EN_AGENTS = [("option", "options"), ("command", "commands"), ("program", "programs"), ("function", "functions"),
             ("script", "scripts"), ("process", "processes"), ("user", "users"), ("tool", "tools")]
EN_VERBS = [("prints", "print"), ("writes", "write"), ("ignores", "ignore"), ("returns", "return"),
            ("removes", "remove"), ("creates", "create"), ("changes", "change"), ("uses", "use"),
            ("checks", "check"), ("displays", "display"), ("opens", "open")]
EN_OBJECTS = ["the name of the file", "the value", "a list of files", "the directory", "the message", "this line",
              "the output", "the address"]
EN_PARTICIPLES = ["ignored", "printed", "used", "removed", "checked", "displayed", "changed", "created", "defined",
                  "required"]


def english():
    be = ("is", "are")

    def subject_verb(rng):
        n = rng.randrange(2)
        subject, verb, rest = rng.choice(EN_AGENTS)[n], rng.choice(EN_VERBS), rng.choice(EN_OBJECTS)
        return f"The {subject} {verb[n]} {rest}.", f"The {subject} {verb[1 - n]} {rest}."

    def passive(rng):
        n = rng.randrange(2)
        subject, participle = rng.choice(EN_THINGS)[n], rng.choice(EN_PARTICIPLES)
        return f"The {subject} {be[n]} {participle}.", f"The {subject} {be[1 - n]} {participle}."

    def attractor(rng):
        n = rng.randrange(2)
        first, second = rng.sample(EN_THINGS, 2)
        participle = rng.choice(EN_PARTICIPLES)
        start = f"The {first[n]} of the {second[1 - n]}"
        return f"{start} {be[n]} {participle}.", f"{start} {be[1 - n]} {participle}."

    def determiner(rng):
        n = rng.randrange(2)
        words = ("this", "these")  # "That files are printed" could be the beginning of something right
        subject, participle = rng.choice(EN_THINGS)[n], rng.choice(EN_PARTICIPLES)
        return tuple(capital(f"{words[k]} {subject} {be[n]} {participle}.") for k in (n, 1 - n))

    def have(rng):
        n = rng.randrange(2)
        subject = rng.choice(EN_AGENTS)[n]
        other = rng.choice([noun[1] for noun in EN_THINGS if subject not in noun])
        number = rng.choice(["no", "two", "several", "many"])
        verb = ("has", "have")
        return f"The {subject} {verb[n]} {number} {other}.", f"The {subject} {verb[1 - n]} {number} {other}."

    def modal(rng):
        subject, verb, rest = rng.choice(EN_AGENTS)[rng.randrange(2)], rng.choice(EN_VERBS), rng.choice(EN_OBJECTS)
        word = rng.choice(["can", "may", "must", "should", "will"])
        return f"The {subject} {word} {verb[1]} {rest}.", f"The {subject} {word} {verb[0]} {rest}."

    return {"subject_verb_number": subject_verb, "passive_number": passive, "subject_verb_number_attractor": attractor,
            "determiner_noun_number": determiner, "have_number": have, "modal_verb_form": modal}


# --- German: noun (gender, singular, plural), no noun whose plural looks like its singular ---------------------------

DE_THINGS = [("f", "Datei", "Dateien"), ("m", "Befehl", "Befehle"), ("f", "Option", "Optionen"),
             ("n", "Verzeichnis", "Verzeichnisse"), ("f", "Zeile", "Zeilen"), ("m", "Wert", "Werte"),
             ("n", "Programm", "Programme"), ("f", "Variable", "Variablen"), ("n", "Argument", "Argumente"),
             ("m", "Prozess", "Prozesse"), ("f", "Funktion", "Funktionen"), ("n", "Feld", "Felder"),
             ("f", "Nachricht", "Nachrichten"), ("n", "Paket", "Pakete"), ("m", "Dienst", "Dienste"),
             ("n", "Signal", "Signale"), ("m", "Pfad", "Pfade"), ("f", "Gruppe", "Gruppen"),
             ("n", "Format", "Formate"), ("m", "Block", "Blöcke"), ("f", "Adresse", "Adressen")]
DE_ARTICLE = {"m": "der", "f": "die", "n": "das"}
# Neither the dative nor the plural article: those begin other sentences that are right.
DE_WRONG_ARTICLE = {"m": "das", "f": "das", "n": "der"}
DE_DEMONSTRATIVE = {"m": "dieser", "f": "diese", "n": "dieses"}
DE_WRONG_DEMONSTRATIVE = {"m": "dieses", "f": "dieses", "n": "dieser"}
DE_GENITIVE = {"f": "der"}
DE_PARTICIPLES = ["ignoriert", "ausgegeben", "verwendet", "gelöscht", "geprüft", "angezeigt", "geändert", "erstellt",
                  "benötigt", "unterstützt"]
DE_VERBS = [("enthält", "enthalten"), ("verwendet", "verwenden"), ("zeigt", "zeigen"), ("ändert", "ändern"),
            ("löscht", "löschen"), ("prüft", "prüfen"), ("setzt", "setzen"), ("liefert", "liefern"),
            ("beschreibt", "beschreiben")]
DE_OBJECTS = ["den Namen der Datei", "den Wert", "den Pfad", "den Inhalt der Zeile", "den aktuellen Zustand",
              "den Anfang der Liste"]
DE_ADJECTIVES = ["neu", "leer", "gültig", "ander", "weiter", "lokal", "lang", "bestimmt"]
DE_ENDING = {"m": "er", "f": "e", "n": "es"}
DE_WRONG_ENDING = {"m": "es", "f": "es", "n": "er"}
DE_INDEFINITE = {"m": "ein", "f": "eine", "n": "ein"}


def german():
    werden = ("wird", "werden")

    def definite(noun, n):
        return f"{'die' if n else DE_ARTICLE[noun[0]]} {noun[1 + n]}"

    def subject_verb(rng):
        n = rng.randrange(2)
        subject, verb, rest = definite(rng.choice(DE_THINGS), n), rng.choice(DE_VERBS), rng.choice(DE_OBJECTS)
        return capital(f"{subject} {verb[n]} {rest}."), capital(f"{subject} {verb[1 - n]} {rest}.")

    def passive(rng):
        n = rng.randrange(2)
        subject, participle = definite(rng.choice(DE_THINGS), n), rng.choice(DE_PARTICIPLES)
        return tuple(capital(f"{subject} {werden[k]} {participle}.") for k in (n, 1 - n))

    def attractor(rng):
        n = rng.randrange(2)
        first = rng.choice([noun for noun in DE_THINGS if noun[1] != "Gruppe"])  # a group may be plural in sense
        second = rng.choice([noun for noun in DE_THINGS if noun[0] == "f" and noun is not first])
        start = f"{definite(first, n)} der {second[2 - n]}"  # the feminine and the plural genitive alike
        participle = rng.choice(DE_PARTICIPLES)
        return tuple(capital(f"{start} {werden[k]} {participle}.") for k in (n, 1 - n))

    def article(rng):
        noun, participle = rng.choice(DE_THINGS), rng.choice(DE_PARTICIPLES)
        return tuple(capital(f"{table[noun[0]]} {noun[1]} wird {participle}.")
                     for table in (DE_ARTICLE, DE_WRONG_ARTICLE))

    def demonstrative(rng):
        noun, participle = rng.choice(DE_THINGS), rng.choice(DE_PARTICIPLES)
        return tuple(capital(f"{table[noun[0]]} {noun[1]} wird nicht {participle}.")
                     for table in (DE_DEMONSTRATIVE, DE_WRONG_DEMONSTRATIVE))

    def adjective(rng):
        noun, participle, stem = rng.choice(DE_THINGS), rng.choice(DE_PARTICIPLES), rng.choice(DE_ADJECTIVES)
        return tuple(f"Es wird {DE_INDEFINITE[noun[0]]} {stem}{table[noun[0]]} {noun[1]} {participle}."
                     for table in (DE_ENDING, DE_WRONG_ENDING))

    return {"subject_verb_number": subject_verb, "passive_number": passive, "subject_verb_number_attractor": attractor,
            "article_gender": article, "demonstrative_gender": demonstrative, "adjective_gender": adjective}


# --- Swedish: noun (gender, indefinite, definite, definite plural); verbs do not agree ------------------------------

SV_THINGS = [("u", "fil", "filen", "filerna"), ("u", "flagga", "flaggan", "flaggorna"),
             ("u", "katalog", "katalogen", "katalogerna"), ("u", "rad", "raden", "raderna"),
             ("u", "variabel", "variabeln", "variablerna"), ("u", "sträng", "strängen", "strängarna"),
             ("u", "funktion", "funktionen", "funktionerna"), ("u", "sökväg", "sökvägen", "sökvägarna"),
             ("u", "grupp", "gruppen", "grupperna"), ("u", "signal", "signalen", "signalerna"),
             ("u", "tabell", "tabellen", "tabellerna"), ("u", "nyckel", "nyckeln", "nycklarna"),
             ("n", "kommando", "kommandot", "kommandona"), ("n", "program", "programmet", "programmen"),
             ("n", "argument", "argumentet", "argumenten"), ("n", "namn", "namnet", "namnen"),
             ("n", "värde", "värdet", "värdena"), ("n", "fält", "fältet", "fälten"),
             ("n", "block", "blocket", "blocken"), ("n", "format", "formatet", "formaten"),
             ("n", "meddelande", "meddelandet", "meddelandena"), ("n", "mönster", "mönstret", "mönstren"),
             ("n", "paket", "paketet", "paketen"), ("n", "skript", "skriptet", "skripten")]
# Common gender, neuter, plural and definite.
SV_ADJECTIVES = [("ny", "nytt", "nya"), ("tom", "tomt", "tomma"), ("stor", "stort", "stora"),
                 ("ogiltig", "ogiltigt", "ogiltiga"), ("okänd", "okänt", "okända"), ("lång", "långt", "långa"),
                 ("giltig", "giltigt", "giltiga"), ("temporär", "temporärt", "temporära"),
                 ("lokal", "lokalt", "lokala"), ("ledig", "ledigt", "lediga"), ("dold", "dolt", "dolda")]
# As predicates only those whose neuter is no adverb.
SV_PREDICATES = [forms for forms in SV_ADJECTIVES if forms[0] in ("ny", "tom", "stor", "ogiltig", "okänd", "giltig",
                                                                  "ledig")]
SV_STARTS = ["Kommandot skapar", "Programmet använder", "Funktionen returnerar", "Flaggan anger", "Programmet väljer",
             "Kommandot behöver"]
SV_ENDS = ["används", "visas", "skapas", "ignoreras", "skrivs ut", "tas bort", "kontrolleras"]


def swedish():
    def form(adjective, gender):
        return adjective[0 if gender == "u" else 1]

    other = {"u": "n", "n": "u"}

    def predicate_gender(rng):
        noun, adjective = rng.choice(SV_THINGS), rng.choice(SV_PREDICATES)
        adverb = rng.choice(["", "inte ", "redan ", "alltid "])
        return tuple(capital(f"{noun[2]} är {adverb}{form(adjective, gender)}.") for gender in (noun[0], other[noun[0]]))

    def predicate_number(rng):
        noun, adjective = rng.choice(SV_THINGS), rng.choice(SV_PREDICATES)
        adverb = rng.choice(["", "inte ", "redan ", "alltid "])
        plural = rng.randrange(2)
        words = (adjective[2], form(adjective, noun[0]))
        right, wrong = words if plural else words[::-1]
        return tuple(capital(f"{noun[3 if plural else 2]} är {adverb}{word}.") for word in (right, wrong))

    def article(rng):
        noun, start = rng.choice(SV_THINGS), rng.choice(SV_STARTS)
        word = {"u": "en", "n": "ett"}
        return f"{start} {word[noun[0]]} {noun[1]}.", f"{start} {word[other[noun[0]]]} {noun[1]}."

    def attribute(rng):
        noun, adjective, start = rng.choice(SV_THINGS), rng.choice(SV_ADJECTIVES), rng.choice(SV_STARTS)
        word = {"u": "en", "n": "ett"}[noun[0]]
        return tuple(f"{start} {word} {form(adjective, gender)} {noun[1]}." for gender in (noun[0], other[noun[0]]))

    def demonstrative(rng):
        noun, end = rng.choice(SV_THINGS), rng.choice(SV_ENDS)
        word = {"u": "den", "n": "det"}
        return tuple(capital(f"{word[gender]} här {noun[2]} {end}.") for gender in (noun[0], other[noun[0]]))

    def definite(rng):
        noun, adjective, end = rng.choice(SV_THINGS), rng.choice(SV_ADJECTIVES), rng.choice(SV_ENDS)
        word = {"u": "den", "n": "det"}[noun[0]]
        return tuple(capital(f"{word} {adjective_form} {noun[2]} {end}.")
                     for adjective_form in (adjective[2], form(adjective, noun[0])))

    return {"predicate_gender": predicate_gender, "predicate_number": predicate_number, "article_gender": article,
            "adjective_gender": attribute, "demonstrative_gender": demonstrative, "definite_adjective": definite}


# --- Dutch: noun (article, singular, plural), none that is another word with the other article (het pad, de pad) ------

NL_THINGS = [("het", "bestand", "bestanden"), ("de", "optie", "opties"), ("de", "regel", "regels"),
             ("de", "opdracht", "opdrachten"), ("de", "map", "mappen"), ("het", "programma", "programma's"),
             ("de", "waarde", "waarden"), ("de", "naam", "namen"), ("het", "proces", "processen"),
             ("de", "functie", "functies"), ("de", "tabel", "tabellen"), ("het", "argument", "argumenten"),
             ("het", "symbool", "symbolen"), ("het", "veld", "velden"), ("de", "groep", "groepen"),
             ("het", "bericht", "berichten"), ("het", "systeem", "systemen"), ("de", "sleutel", "sleutels"),
             ("het", "apparaat", "apparaten"), ("de", "lijst", "lijsten"), ("het", "signaal", "signalen")]
NL_PARTICIPLES = ["genegeerd", "getoond", "gebruikt", "verwijderd", "gewijzigd", "gemaakt", "gelezen", "geschreven",
                  "ondersteund"]
# Verbs that take no object: with one, the infinitive (the plural form) is how manuals give commands.
NL_VERBS = [("staat", "staan", "in het bestand"), ("bestaat", "bestaan", "uit een regel"),
            ("verschijnt", "verschijnen", "op het scherm"), ("ontbreekt", "ontbreken", "in de lijst"),
            ("blijft", "blijven", "in de map"), ("komt", "komen", "uit het systeem"),
            ("verdwijnt", "verdwijnen", "van het scherm"), ("staat", "staan", "op het scherm")]
NL_ADJECTIVES = [("nieuw", "nieuwe"), ("leeg", "lege"), ("ander", "andere"), ("lang", "lange"), ("geldig", "geldige"),
                 ("tijdelijk", "tijdelijke"), ("lokaal", "lokale"), ("onbekend", "onbekende"), ("groot", "grote")]


def dutch():
    worden = ("wordt", "worden")

    def definite(noun, n):
        return f"{'de' if n else noun[0]} {noun[1 + n]}"

    def subject_verb(rng):
        n = rng.randrange(2)
        subject, verb = definite(rng.choice(NL_THINGS), n), rng.choice(NL_VERBS)
        return tuple(capital(f"{subject} {verb[k]} {verb[2]}.") for k in (n, 1 - n))

    def passive(rng):
        n = rng.randrange(2)
        subject, participle = definite(rng.choice(NL_THINGS), n), rng.choice(NL_PARTICIPLES)
        return tuple(capital(f"{subject} {worden[k]} {participle}.") for k in (n, 1 - n))

    def attractor(rng):
        n = rng.randrange(2)
        first, second = rng.sample([noun for noun in NL_THINGS if noun[1] not in ("groep", "lijst")], 2)
        start = f"{definite(first, n)} van {definite(second, 1 - n)}"
        participle = rng.choice(NL_PARTICIPLES)
        return tuple(capital(f"{start} {worden[k]} {participle}.") for k in (n, 1 - n))

    def article(rng):
        noun, participle = rng.choice(NL_THINGS), rng.choice(NL_PARTICIPLES)
        wrong = "de" if noun[0] == "het" else "het"
        return tuple(capital(f"{word} {noun[1]} wordt {participle}.") for word in (noun[0], wrong))

    def demonstrative(rng):
        noun, participle = rng.choice(NL_THINGS), rng.choice(NL_PARTICIPLES)
        words = rng.choice([("dit", "deze"), ("dat", "die")])
        right, wrong = words if noun[0] == "het" else words[::-1]
        return tuple(capital(f"{word} {noun[1]} wordt {participle}.") for word in (right, wrong))

    def adjective(rng):
        noun, forms, participle = rng.choice(NL_THINGS), rng.choice(NL_ADJECTIVES), rng.choice(NL_PARTICIPLES)
        right, wrong = forms if noun[0] == "het" else forms[::-1]
        return tuple(f"Er wordt een {word} {noun[1]} {participle}." for word in (right, wrong))

    return {"subject_verb_number": subject_verb, "passive_number": passive, "subject_verb_number_attractor": attractor,
            "article_gender": article, "demonstrative_gender": demonstrative, "adjective_gender": adjective}


# --- French: noun (gender, singular, plural), none that begins with a vowel or a silent h ----------------------------

FR_THINGS = [("m", "fichier", "fichiers"), ("m", "répertoire", "répertoires"), ("m", "programme", "programmes"),
             ("m", "nom", "noms"), ("m", "caractère", "caractères"), ("m", "paramètre", "paramètres"),
             ("m", "champ", "champs"), ("m", "message", "messages"), ("m", "signal", "signaux"),
             ("m", "système", "systèmes"), ("m", "groupe", "groupes"), ("m", "tableau", "tableaux"),
             ("f", "commande", "commandes"), ("f", "ligne", "lignes"), ("f", "valeur", "valeurs"),
             ("f", "variable", "variables"), ("f", "fonction", "fonctions"), ("f", "chaîne", "chaînes"),
             ("f", "liste", "listes"), ("f", "clé", "clés"), ("f", "page", "pages"), ("f", "table", "tables"),
             ("f", "bibliothèque", "bibliothèques"), ("f", "partition", "partitions")]
FR_ARTICLE = {"m": "le", "f": "la"}
FR_INDEFINITE = {"m": "un", "f": "une"}
FR_DEMONSTRATIVE = {"m": "ce", "f": "cette"}
FR_OTHER = {"m": "f", "f": "m"}
FR_PARTICIPLES = ["affiché", "utilisé", "supprimé", "modifié", "créé", "vérifié", "défini", "lu", "ouvert", "ignoré"]
FR_VERBS = [("affiche", "affichent"), ("contient", "contiennent"), ("utilise", "utilisent"), ("décrit", "décrivent"),
            ("modifie", "modifient"), ("définit", "définissent"), ("change", "changent"), ("donne", "donnent"),
            ("indique", "indiquent")]
FR_OBJECTS = ["le nom du fichier", "la valeur", "la liste des fichiers", "le message", "le contenu du répertoire",
              "la taille de la page"]


def french():
    etre = ("est", "sont")

    def definite(noun, n):
        return f"{'les' if n else FR_ARTICLE[noun[0]]} {noun[1 + n]}"

    def participle_form(participle, gender, n):
        return participle + ("e" if gender == "f" else "") + ("s" if n else "")

    def of(noun, n):
        return f"{'des' if n else 'du' if noun[0] == 'm' else 'de la'} {noun[1 + n]}"

    def subject_verb(rng):
        n = rng.randrange(2)
        subject, verb, rest = definite(rng.choice(FR_THINGS), n), rng.choice(FR_VERBS), rng.choice(FR_OBJECTS)
        return tuple(capital(f"{subject} {verb[k]} {rest}.") for k in (n, 1 - n))

    def attractor(rng):
        n = rng.randrange(2)
        first, second = rng.sample([noun for noun in FR_THINGS if noun[1] not in ("groupe", "liste")], 2)
        start, verb, rest = f"{definite(first, n)} {of(second, 1 - n)}", rng.choice(FR_VERBS), rng.choice(FR_OBJECTS)
        return tuple(capital(f"{start} {verb[k]} {rest}.") for k in (n, 1 - n))

    def copula(rng):
        n = rng.randrange(2)
        noun, participle = rng.choice(FR_THINGS), rng.choice(FR_PARTICIPLES)
        end = participle_form(participle, noun[0], n)
        return tuple(capital(f"{definite(noun, n)} {etre[k]} {end}.") for k in (n, 1 - n))

    def article(rng):
        noun, participle = rng.choice(FR_THINGS), rng.choice(FR_PARTICIPLES)
        end = participle_form(participle, noun[0], 0)
        table = rng.choice([FR_ARTICLE, FR_INDEFINITE, FR_DEMONSTRATIVE])
        return tuple(capital(f"{table[gender]} {noun[1]} est {end}.") for gender in (noun[0], FR_OTHER[noun[0]]))

    def participle_gender(rng):
        n = rng.randrange(2)
        noun, participle = rng.choice(FR_THINGS), rng.choice(FR_PARTICIPLES)
        return tuple(capital(f"{definite(noun, n)} {etre[n]} {participle_form(participle, gender, n)}.")
                     for gender in (noun[0], FR_OTHER[noun[0]]))

    def participle_number(rng):
        n = rng.randrange(2)
        noun, participle = rng.choice(FR_THINGS), rng.choice(FR_PARTICIPLES)
        return tuple(capital(f"{definite(noun, n)} {etre[n]} {participle_form(participle, noun[0], k)}.")
                     for k in (n, 1 - n))

    return {"subject_verb_number": subject_verb, "subject_verb_number_attractor": attractor, "copula_number": copula,
            "article_gender": article, "participle_gender": participle_gender, "participle_number": participle_number}


LANGUAGES = {"en": english, "de": german, "sv": swedish, "nl": dutch, "fr": french}


def lines_of(language):
    rng = random.Random(f"growmerge pairs {language}")
    seen = set()
    lines = []
    for phenomenon, make in LANGUAGES[language]().items():
        count = 0
        while count < PER_PHENOMENON:
            good, bad = make(rng)
            assert good != bad and len(good.split()) == len(bad.split()), (good, bad)
            if good in seen:
                continue
            seen.add(good)
            count += 1
            lines.append(json.dumps({"sentence_good": good, "sentence_bad": bad, "phenomenon": phenomenon,
                                     "UID": f"{language}_{phenomenon}"}, ensure_ascii=False) + "\n")
    return "".join(lines)


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    stale = []
    for language in LANGUAGES:
        path = os.path.join(folder, language + ".jsonl")
        text = lines_of(language)
        if "--check" in sys.argv[1:]:
            with open(path, encoding="utf-8") as file:
                if file.read() != text:
                    stale.append(path)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
    if stale:
        sys.exit("not what make_pairs.py writes: " + ", ".join(stale))


if __name__ == "__main__":
    main()
