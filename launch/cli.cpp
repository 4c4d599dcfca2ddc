#include "launch/cli.h"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cstdio>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/version.h"
#include "launch/dry_run.h"
#include "launch/process.h"
#include "launch/stage_driver.h"

namespace growmerge::launch {
namespace {

namespace options = boost::program_options;

constexpr const char* kOptionHelp =
    "  --config FILE        YAML config of the command\n"
    "  --out DIR            the directory that is written\n"
    "  --set KEY=VALUE      sets one config key (a.b.c=value; may be repeated)\n"
    "  --dry-run            prints what would be read, written, needed and spent\n"
    "  --print-config       prints the resolved config\n"
    "  --help               this text\n";

/// What a mistyped option may have meant; the hidden ones are not offered.
const std::vector<std::string>& option_names() {
  static const std::vector<std::string> names = {"--config",       "--out",    "--set",
                                                 "--dry-run",      "--help",   "--verify",
                                                 "--print-config", "--version"};
  return names;
}

options::options_description make_options() {
  options::options_description out;
  auto add = out.add_options();
  add("config", options::value<std::string>());
  add("out", options::value<std::string>());
  add("set", options::value<std::vector<std::string>>()->composing());
  add("dry-run", options::bool_switch());
  add("print-config", options::bool_switch());
  add("verify", options::bool_switch());
  add("help,h", options::bool_switch());
  add("version", options::bool_switch());
  add("config-docs", options::bool_switch());
  add("words", options::value<std::vector<std::string>>());
  return out;
}

/// Most wishes that are no option are keys of the config, so the message says how to set those.
[[noreturn]] void unknown_option(const std::string& word) {
  const std::string name = word.substr(0, word.find('='));
  const std::string nearest = nearest_name(name, option_names());
  fail(ErrorCode::kInvalidArgument, "unknown option '", name, "'",
       nearest.empty() ? "" : "; did you mean '" + nearest + "'?",
       " (other choices live in the config: --set key=value)");
}

/// One blank at least, where a name is longer than its column.
std::string padded(const std::string& text, std::size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text + " ";
}

/// One stage. `waits`: its inputs may be another's output.
int run_one_stage(const Command& command, const CommandLine& line, const YamlNode& config,
                  bool waits, Communicator& comm) {
  run_agreed(comm, [&] { (void)command.stage.plan(config); });
  if (line.print_config) {
    if (comm.is_root()) {
      std::fputs(command.stage.plan(config).config.c_str(), stdout);
    }
    return 0;
  }
  if (line.dry_run) {
    run_agreed(comm, [&] {
      if (comm.is_root() && waits) {
        std::fputs(waiting_text(command, config, line.out).c_str(), stdout);
      } else if (comm.is_root()) {
        const PlannedStage stage = plan_stage(command.stage.plan(config), line.out);
        std::fputs(dry_run_text(stage, command, config, line.out, comm.size()).c_str(), stdout);
      }
    });
    return 0;
  }
  // Only now: --print-config and --dry-run mean the same with and without --out.
  if (line.out.empty() && command.prints_without_out) {
    command.prints_without_out(config, comm);
    return 0;
  }
  const int status = run_stage(command, line, config, comm);
  if (status == 0 && line.verify && comm.is_root()) {
    verify_directory(line.out);
    log_info("'" + line.out + "' is what its manifest says");
  }
  return status;
}

/// Every rank reads the config itself: it is small, and a mistake in it ends all of them alike.
int run_stage_command(const Command& command, const CommandLine& line, Communicator& comm) {
  std::vector<StageOfFile> stages;
  run_agreed(comm, [&] {
    if (command.split) {
      stages = command.split(line);
    }
    if (stages.empty()) {
      stages.push_back({load_command_config(command, line), line.out});
    }
    // A mistake in the last one shows before the first has taken hours.
    for (const StageOfFile& stage : stages) {
      (void)command.stage.plan(stage.config);
    }
  });
  for (const StageOfFile& stage : stages) {
    CommandLine one = line;
    one.out = stage.out;
    if (const int status = run_one_stage(command, one, stage.config, stage.waits, comm)) {
      return status;
    }
  }
  return 0;
}

}  // namespace

ParsedLine parse_command_line(std::span<const std::string> words) {
  options::positional_options_description positional;
  positional.add("words", -1);
  options::variables_map map;
  try {
    // A prefix of an option would change its meaning when another option of that name comes.
    const auto style =
        options::command_line_style::default_style & ~options::command_line_style::allow_guessing;
    options::store(
        options::command_line_parser(std::vector<std::string>(words.begin(), words.end()))
            .options(make_options())
            .positional(positional)
            .style(style)
            .run(),
        map);
  } catch (const options::unknown_option& e) {
    unknown_option(e.get_option_name());
  } catch (const options::error& e) {
    fail(ErrorCode::kInvalidArgument, e.what(), " (growmerge --help lists the options)");
  }
  ParsedLine out;
  const auto text = [&map](const char* name) {
    return map.count(name) != 0 ? map[name].as<std::string>() : std::string();
  };
  const auto list = [&map](const char* name) {
    return map.count(name) != 0 ? map[name].as<std::vector<std::string>>()
                                : std::vector<std::string>();
  };
  out.line.config_path = text("config");
  out.line.out = text("out");
  out.line.overrides = list("set");
  out.line.dry_run = map["dry-run"].as<bool>();
  out.line.print_config = map["print-config"].as<bool>();
  out.line.verify = map["verify"].as<bool>();
  out.help = map["help"].as<bool>();
  out.version = map["version"].as<bool>();
  out.config_docs = map["config-docs"].as<bool>();
  out.line.paths = list("words");
  if (!out.line.paths.empty()) {
    out.line.command = out.line.paths.front();
    out.line.paths.erase(out.line.paths.begin());
  }
  return out;
}

std::string help_text() {
  std::string out =
      "growmerge: grow an English language model, teach it other languages, merge, evaluate\n\n"
      "growmerge COMMAND [PATH...] [OPTIONS]; growmerge COMMAND --help says more.\n"
      "On many ranks: mpirun -np N growmerge COMMAND ...\n\ncommands\n";
  for (const Command& command : commands()) {
    out += "  " + padded(command.name, 12) + command.doc + "\n";
  }
  return out + "\noptions\n" + kOptionHelp +
         "\nexit codes: 0 done, 2 a mistake in config or command line, 3 bad data, 4 interrupted\n"
         "but resumable, 5 a rank died or timed out, 6 disk full or I/O failed, 70 a bug\n";
}

std::string command_help_text(const Command& command) {
  std::string out =
      std::string("growmerge ") + command.name + " " + command.usage + "\n  " + command.doc + "\n";
  if (*command.details != '\0') {
    out += std::string("\n") + command.details;
  }
  out += std::string("\noptions\n") + kOptionHelp;
  if (command.describe) {
    out += "\nconfig keys, with their defaults (docs/config.md explains each)\n";
    out += dump_fields(command.describe);
  }
  if (command.config_docs) {
    out += "\n" + command.config_docs();
  }
  return out;
}

// A test holds docs/config.md against this, so the page cannot lag behind the program.
std::string config_docs_text() {
  std::string out =
      "# Configuration\n\nEvery key of every command, generated from the program "
      "(`growmerge --config-docs`). The recipes of\n`merge` are described in "
      "[methods/merging.md](methods/merging.md), experiments in [experiment.md](experiment.md). "
      "A key `a.b` is `b` inside `a`; `a[].b`\nis `b` in each item of "
      "the list `a`. `growmerge COMMAND --print-config` writes a complete file to start from.\n";
  for (const Command& command : commands()) {
    if (command.config_docs) {
      out += std::string("\n## ") + command.name + "\n\n" + command.doc + ".\n\n" +
             command.config_docs();
    }
    if (!command.describe) {
      continue;
    }
    out += std::string("\n## ") + command.name + "\n\n" + command.doc +
           ".\n\n| key | default | unit | meaning |\n|---|---|---|---|\n" +
           document_fields(command.describe);
  }
  return out;
}

// Names are exact: a guess could start hours of the wrong work.
const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (name == command.name) {
      return command;
    }
    names.emplace_back(command.name);
  }
  const std::string nearest = nearest_name(name, names);
  fail(ErrorCode::kInvalidArgument, "unknown command '", name, "'",
       nearest.empty() ? "" : "; did you mean '" + nearest + "'?",
       " (growmerge --help lists the commands)");
}

void set_scalar(YamlNode& root, const std::string& key, const std::string& value) {
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.scalar = value;
  // A path such as 12 or true stays text.
  node.quoted = true;
  node.file = "command line";
  if (YamlNode* there = root.find(key)) {
    *there = std::move(node);
  } else {
    root.entries.emplace_back(key, std::move(node));
  }
}

YamlNode load_command_config(const Command& command, const CommandLine& line) {
  YamlNode root;
  root.kind = YamlNode::Kind::kMap;
  root.file = "command line";
  if (!line.config_path.empty()) {
    root = parse_yaml_file(line.config_path);
    if (root.is_null()) {
      root.kind = YamlNode::Kind::kMap;
    }
  }
  // In this order: --set has the last word over file and paths.
  if (command.place_paths) {
    command.place_paths(line.paths, root);
  } else if (command.is_stage()) {
    GM_CHECK(line.paths.empty(), kInvalidArgument, "'", command.name, "' takes no paths, got '",
             line.paths.front(), "': its inputs stand in the config");
  }
  for (const std::string& assignment : line.overrides) {
    apply_override(root, assignment);
  }
  return root;
}

int run_command_line(int argc, char** argv) {
  ParsedLine parsed;
  // All that needs neither ranks nor devices is done before either is opened.
  const Command* command = nullptr;
  try {
    parsed = parse_command_line(std::vector<std::string>(argv + 1, argv + argc));
    if (parsed.version) {
      std::printf("growmerge %s (%s)\n", growmerge_version().c_str(), git_hash().c_str());
      return 0;
    }
    if (parsed.config_docs) {
      std::fputs(config_docs_text().c_str(), stdout);
      return 0;
    }
    if (parsed.line.command.empty()) {
      std::fputs(help_text().c_str(), parsed.help ? stdout : stderr);
      return parsed.help ? 0 : exit_code(ErrorCode::kInvalidArgument);
    }
    command = &find_command(parsed.line.command);
    if (parsed.help) {
      std::fputs(command_help_text(*command).c_str(), stdout);
      return 0;
    }
    GM_CHECK(
        !parsed.line.verify || parsed.line.command == "inspect" || parsed.line.command == "merge",
        kInvalidArgument, "--verify belongs to 'inspect' and 'merge'");
  } catch (const Error& e) {
    log_error(e.what());
    return exit_code(e.code());
  }
  // Plain commands run at once; a stage may share its work with other ranks.
  if (command->is_inspection && command->is_inspection(parsed.line)) {
    return run_plain([&] { return command->inspect(parsed.line); });
  }
  if (!command->is_stage()) {
    return run_plain([&] { return command->run(parsed.line); });
  }
  return run_process(&argc, &argv, [&](Communicator& comm) {
    return run_stage_command(*command, parsed.line, comm);
  });
}

}  // namespace growmerge::launch
