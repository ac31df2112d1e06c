#!/usr/bin/env python3
"""Checks that an entry is in a nicmend log, offline, with nothing but the log's public key.

    python3 verify.py PROOF.tlog-proof KEY [WITNESS-KEY...]

PROOF is what `nicmend audit prove N -o FILE` writes (c2sp.org/tlog-proof). KEY is the log's verifier key,
`name+id+base64`, as `nicmend audit verify` prints it, or a file with one a line, as STATE/keys/log.pub;
take it from a place that the log's host cannot write to. Of several keys in a file only the last counts:
the others were replaced, perhaps because they leaked. To trust one of them, give it itself. Each WITNESS-KEY must have cosigned the checkpoint, too. Exit 0 and the entry on standard
output: it is in the log that KEY signed. Exit 1: it is not proved.

It needs Python 3.8 and nothing else, and shares no code with nicmend. Ed25519 is written out from RFC
8032; it verifies only, so it need not be fast nor free of side channels.
"""

import base64
import hashlib
import os
import sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


class Refused(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Refused(why)


def recover_x(y, sign):
    need(y < P, "a point is not written canonically")
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    if x2 == 0:
        need(not sign, "a point is not written canonically")
        return 0
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    need((x * x - x2) % P == 0, "not a point of the curve")
    return P - x if x & 1 != sign else x


def point(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = recover_x(y, sign)
    return x, y, 1, x * y % P


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(scalar, p):
    q = 0, 1, 1, 0
    while scalar:
        if scalar & 1:
            q = add(q, p)
        p, scalar = add(p, p), scalar >> 1
    return q


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = point(BASE_Y.to_bytes(32, "little"))


def verifies(key, message, signature):
    """RFC 8032, 5.1.7, without the cofactor: [S]B = R + [k]A."""
    if len(key) != 32 or len(signature) != 64:
        return False
    try:
        a, r = point(key), point(signature[:32])
    except Refused:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L or times(8, a)[0] == 0 or times(8, r)[0] == 0:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(k, a))
    same_x = (left[0] * right[2] - right[0] * left[2]) % P == 0
    same_y = (left[1] * right[2] - right[1] * left[2]) % P == 0
    return same_x and same_y


def decode(text, what):
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused(f"{what} is not base64") from None
    need(base64.b64encode(data).decode() == text, f"{what} is not written canonically")
    return data


def read_key(text):
    """c2sp.org/signed-note: name+id+base64(type || key), the id being SHA-256's first four bytes."""
    parts = text.strip().split("+", 2)
    need(len(parts) == 3, "the key is not name+id+base64")
    name, key_id, data = parts[0], parts[1], decode(parts[2], "the key")
    need(len(data) == 33 and data[0] in (1, 4), "the key is not Ed25519")
    digest = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    need(digest.hex() == key_id, "the key's id is not that of the key")
    return name, digest, data[0], data[1:]


def the_key(text):
    """A key, or the last of a file, which has a log's keys over the years that they changed."""
    if not os.path.isfile(text):
        return read_key(text)
    with open(text, encoding="utf-8") as file:
        lines = file.read(1 << 16).split("\n")
    lines = [line for line in lines if line.strip()]
    need(lines, f"there is no key in {text}")
    return read_key(lines[-1])


def read_note(note):
    need(note.endswith("\n") and "\n\n" in note, "the checkpoint is no signed note")
    text, _, lines = note.rpartition("\n\n")
    signatures = []
    for line in lines[:-1].split("\n"):
        words = line.split(" ")
        need(len(words) == 3 and words[0] == "\u2014", "a signature line is malformed")
        signatures.append((words[1], decode(words[2], "a signature")))
    return text + "\n", signatures


def check_signed(text, signatures, key):
    name, key_id, kind, public = key
    ours = [data[4:] for who, data in signatures if who == name and data[:4] == key_id]
    need(len(ours) == 1, f"{name} has not signed the checkpoint with that key")
    message, signature = text.encode(), ours[0]
    if kind == 4:  # c2sp.org/tlog-cosignature: with the time at which the witness saw it
        seconds, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = f"cosignature/v1\ntime {seconds}\n".encode() + message
    need(verifies(public, message, signature), f"the signature of {name} is forged")


def leaf(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hash_, index, size, path):
    """RFC 9162, 2.1.3.2."""
    need(0 <= index < size, "the entry is not in the tree")
    at, last = index, size - 1
    for sibling in path:
        need(last > 0, "the path is too long")
        if at & 1 or at == last:
            hash_ = node(sibling, hash_)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            hash_ = node(hash_, sibling)
        at, last = at >> 1, last >> 1
    need(last == 0, "the path is too short")
    return hash_


def number(text, what):
    need(text.isascii() and text.isdigit() and str(int(text)) == text, f"{what} is no number")
    return int(text)


def check(proof, key, witnesses):
    head, found, note = proof.partition("\n\n")
    need(found, "the proof has no checkpoint")
    lines = head.split("\n")
    need(lines[0] == "c2sp.org/tlog-proof@v1", "not a proof of c2sp.org/tlog-proof@v1")
    need(len(lines) >= 3 and lines[1].startswith("extra ") and lines[2].startswith("index "),
         "the proof has no entry or no index")
    entry = decode(lines[1][len("extra "):], "the entry")
    index = number(lines[2][len("index "):], "the index")
    path = [decode(line, "a hash") for line in lines[3:]]
    need(all(len(hash_) == 32 for hash_ in path), "a hash has not 32 bytes")
    text, signatures = read_note(note)
    for one in [key, *witnesses]:
        check_signed(text, signatures, one)
    parts = text.split("\n")
    need(len(parts) == 4 and parts[3] == "" and all(parts[:3]), "the checkpoint is malformed")
    origin, size, root = parts[0], number(parts[1], "the size"), decode(parts[2], "the root")
    need(origin == key[0], "the checkpoint is another log's")
    need(root_of(leaf(entry), index, size, path) == root,
         "the entry does not lead to the checkpoint's root")
    return origin, index, size, entry


def main(arguments):
    if len(arguments) < 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            proof = file.read(1 << 20)
        keys = [the_key(text) for text in arguments[1:]]
        origin, index, size, entry = check(proof, keys[0], keys[1:])
    except (Refused, OSError, UnicodeError) as error:
        print(f"not proved: {error}", file=sys.stderr)
        return 1
    print(f"proved: entry {index} of {size} in {origin}", file=sys.stderr)
    sys.stdout.write(entry.decode("utf-8", "replace") + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
