package eml

import (
	"encoding/binary"
	"strings"
	"unicode/utf16"
)

// decodeUTF7 reads UTF-7 (RFC 2152), which no library has. What is not valid stays as it is.
func decodeUTF7(b []byte) string {
	var out strings.Builder
	out.Grow(len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '+' {
			out.WriteByte(b[i])
			continue
		}
		end := i + 1
		for end < len(b) && base64Values[b[end]] < 64 {
			end++
		}
		switch {
		case end == i+1 && end < len(b) && b[end] == '-':
			out.WriteByte('+')
			i = end
			continue
		case end == i+1:
			out.WriteByte('+')
			continue
		}
		writeUTF16(&out, b[i+1:end])
		if end < len(b) && b[end] == '-' {
			end++
		}
		i = end - 1
	}
	return out.String()
}

// writeUTF16 writes what base64 of big-endian UTF-16 holds.
func writeUTF16(out *strings.Builder, encoded []byte) {
	octets := appendBase64(nil, encoded)
	units := make([]uint16, 0, len(octets)/2)
	for ; len(octets) >= 2; octets = octets[2:] {
		units = append(units, binary.BigEndian.Uint16(octets))
	}
	for _, r := range utf16.Decode(units) {
		out.WriteRune(r)
	}
}
