package imap

import (
	"bytes"
	"strconv"
)

// cutWord splits b at its first space.
func cutWord(b []byte) (word, rest []byte) {
	word, rest, _ = bytes.Cut(b, []byte(" "))
	return word, rest
}

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func number32(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && isNumber(s)
}

// isAtom reports whether s is an atom (RFC 3501 section 9).
func isAtom(s string) bool {
	for i := range len(s) {
		switch c := s[i]; c {
		case '(', ')', '{', '%', '*', '"', '\\', ']':
			return false
		default:
			if c <= ' ' || c >= 0x7f {
				return false
			}
		}
	}
	return s != ""
}

// quotedEnd returns how long the quoted string is that b begins with, quotes included; -1 if it does not end.
func quotedEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// literalOf returns the size of the literal that a segment ends in: "{n}" outside of a quoted string.
func literalOf(seg []byte) (int64, bool) {
	if len(seg) == 0 || seg[len(seg)-1] != '}' {
		return 0, false
	}
	open := bytes.LastIndexByte(seg, '{')
	if open < 0 {
		return 0, false
	}
	n, ok := literalSize(seg[open:])
	if !ok {
		return 0, false
	}
	for i := 0; i < open; i++ {
		if seg[i] == '"' {
			end := quotedEnd(seg[i:])
			if end < 0 || i+end > open {
				return 0, false
			}
			i += end - 1
		}
	}
	return n, true
}

// literalSize reads "{n}", or "{n+}" as a client would write it.
func literalSize(b []byte) (int64, bool) {
	if len(b) < 3 || b[0] != '{' || b[len(b)-1] != '}' {
		return 0, false
	}
	digits := string(bytes.TrimSuffix(b[1:len(b)-1], []byte("+")))
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && isNumber(digits)
}
