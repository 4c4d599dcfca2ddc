"""Token shards as h5py reads them: data sets, attributes and checksums, computed here independently."""

import os
import random
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CRC_BLOCK = 1 << 20


def crc32c(data):
    """Bit-reflected CRC-32C (polynomial 0x82F63B78) by table."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def check(helper, folder, vocab_size, dtype, num_documents, longest):
    rng = random.Random(vocab_size)
    documents = [[1] + [rng.randrange(2, vocab_size) for _ in range(rng.randrange(longest))] + [0]
                 for _ in range(num_documents)]
    sizes = [rng.randrange(100000) for _ in documents]
    source = os.path.join(folder, "documents.txt")
    shard = os.path.join(folder, "xx.h5")
    with open(source, "w") as out:
        out.write(f"xx {vocab_size} 1 0\n")
        for size, document in zip(sizes, documents):
            out.write(" ".join(map(str, [size, *document])) + "\n")
    subprocess.run([helper, source, shard], check=True)

    flat = np.array([token for document in documents for token in document], dtype=dtype)
    offsets = np.cumsum([0] + [len(document) for document in documents], dtype=np.uint64)
    with h5py.File(shard, "r") as file:
        assert sorted(file) == ["document_bytes", "document_offsets", "token_block_crc32c", "tokens"], list(file)
        assert file["tokens"].dtype == dtype, file["tokens"].dtype
        assert file["document_offsets"].dtype == np.uint64
        assert file["document_bytes"].dtype == np.uint32
        assert all(file[name].chunks is None for name in file)
        assert np.array_equal(file["tokens"][:], flat)
        assert np.array_equal(file["document_offsets"][:], offsets)
        assert np.array_equal(file["document_bytes"][:], np.array(sizes))
        raw = flat.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
        blocks = [crc32c(raw[at:at + CRC_BLOCK]) for at in range(0, len(raw), CRC_BLOCK)]
        assert file["token_block_crc32c"][:].tolist() == blocks
        expected = {
            "format": b"growmerge token shard", "format_version": 1, "language": b"xx", "sources": b"one\ntwo",
            "tokenizer_hash": b"0123456789abcdef", "vocab_size": vocab_size, "bos_token_id": 1, "eos_token_id": 0,
            "num_tokens": len(flat), "num_documents": num_documents, "num_bytes": sum(sizes),
            "num_characters": sum(sizes), "crc_block_bytes": CRC_BLOCK,
            "document_offsets_crc32c": crc32c(offsets.astype("<u8").tobytes()),
            "document_bytes_crc32c": crc32c(np.array(sizes, dtype="<u4").tobytes()),
        }
        found = {name: value.encode() if isinstance(value, str) else value for name, value in file.attrs.items()}
        assert found == expected, {name: (found.get(name), expected.get(name))
                                   for name in {*found, *expected} if found.get(name) != expected.get(name)}
    with open(shard, "rb") as file:  # the tokens lie in the file as they are
        assert raw in file.read()
    print(f"vocabulary {vocab_size}: {num_documents} documents, {len(flat)} tokens, {len(blocks)} blocks")


def main():
    helper = os.path.join(os.path.dirname(os.environ["GROWMERGE_BINARY"]), "growmerge_shard_helper")
    with tempfile.TemporaryDirectory() as folder:
        check(helper, folder, 100, np.uint16, 1, 3)
        check(helper, folder, 65536, np.uint16, 500, 2500)  # two checksum blocks
        check(helper, folder, 65537, np.uint32, 50, 200)


if __name__ == "__main__":
    main()
