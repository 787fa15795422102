package eml

import (
	"bytes"
	"io"
)

// decoder undoes a transfer encoding. Read never fails but with io.EOF.
type decoder interface {
	io.Reader
	// defect returns the code of what was wrong with the octets read so far, or "".
	defect() string
}

// DecodeSpan returns encoded with its transfer encoding (a value of Part.Encoding) undone, as a stream that holds no
// copy of it. It never fails: what is not of the encoding is skipped, a footer after it is left out, and an unknown
// encoding is identity.
func DecodeSpan(encoded []byte, encoding string) io.Reader {
	return newDecoder(encoded, encoding)
}

func newDecoder(encoded []byte, encoding string) decoder {
	switch encoding {
	case EncodingBase64:
		return &base64Reader{src: encoded}
	case EncodingQuotedPrintable:
		return &qpReader{src: encoded}
	case EncodingUuencode:
		return newUUReader(encoded)
	}
	return identityReader{bytes.NewReader(encoded)}
}

// identityReader is the decoder of 7bit, 8bit and binary.
type identityReader struct{ *bytes.Reader }

func (identityReader) defect() string { return "" }

// What base64Values says of an octet that is no digit.
const (
	base64Space = 64 + iota
	base64Pad
	base64Junk
)

// base64Values holds the value of each base64 digit (RFC 4648 section 4).
//
//nolint:gochecknoglobals // a table that nothing changes
var base64Values = func() (values [256]byte) {
	for i := range values {
		values[i] = base64Junk
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		values[c] = byte(i)
	}
	for _, c := range []byte(" \t\r\n") {
		values[c] = base64Space
	}
	values['='] = base64Pad
	return values
}()

// base64Reader reads base64 (RFC 2045 section 6.8).
type base64Reader struct {
	src    []byte
	pos    int
	acc    uint32
	digits int // in acc
	padded bool
	done   bool
	bad    bool
	rest   [3]byte // decoded octets that did not fit
	left   []byte  // of rest
}

func (d *base64Reader) defect() string {
	if d.bad {
		return DefectBadBase64
	}
	return ""
}

// Read implements io.Reader.
func (d *base64Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(d.left) == 0 && len(p) >= len(d.rest) {
		n := d.fill(p)
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	if len(d.left) == 0 {
		d.left = d.rest[:d.fill(d.rest[:])]
	}
	if len(d.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.left)
	d.left = d.left[n:]
	return n, nil
}

// fill decodes into p, which has room for three octets, and returns how many it wrote: 0 at the end.
func (d *base64Reader) fill(p []byte) int {
	w := 0
	for !d.done && w+3 <= len(p) {
		if d.pos >= len(d.src) {
			d.done = true
			if d.digits > 0 {
				d.bad = true
			}
			return w + d.flush(p[w:])
		}
		if d.digits == 0 && d.pos+4 <= len(d.src) && !d.padded {
			s := d.src[d.pos : d.pos+4]
			v0, v1, v2, v3 := base64Values[s[0]], base64Values[s[1]], base64Values[s[2]], base64Values[s[3]]
			if v0|v1|v2|v3 < 64 {
				p[w], p[w+1], p[w+2] = v0<<2|v1>>4, v1<<4|v2>>2, v2<<6|v3
				w += 3
				d.pos += 4
				continue
			}
		}
		w += d.step(p[w:])
	}
	return w
}

// step takes one octet.
func (d *base64Reader) step(p []byte) int {
	c := d.src[d.pos]
	d.pos++
	switch v := base64Values[c]; v {
	case base64Space:
		if c == '\n' && d.footer() {
			d.done, d.bad = true, true
			return d.flush(p)
		}
	case base64Pad:
		if d.digits == 1 {
			d.bad = true
		}
		d.padded = true
		return d.flush(p)
	case base64Junk:
		d.bad = true
	default:
		if d.padded {
			d.padded, d.bad = false, true // encoded piece by piece
		}
		d.acc = d.acc<<6 | uint32(v)
		d.digits++
		if d.digits == 4 {
			p[0], p[1], p[2] = byte(d.acc>>16), byte(d.acc>>8), byte(d.acc)
			d.digits = 0
			return 3
		}
	}
	return 0
}

// flush writes the octets of a last, incomplete group.
func (d *base64Reader) flush(p []byte) int {
	n := 0
	switch d.digits {
	case 2:
		p[0] = byte(d.acc >> 4)
		n = 1
	case 3:
		p[0], p[1] = byte(d.acc>>10), byte(d.acc>>2)
		n = 2
	}
	d.digits = 0
	return n
}

// footer reports whether the line at pos is of a text that was appended: it looks like a rule, or stands after the
// padding and is not base64.
func (d *base64Reader) footer() bool {
	rest := d.src[d.pos:]
	if bytes.HasPrefix(rest, []byte("--")) || bytes.HasPrefix(rest, []byte("__")) {
		return true
	}
	if !d.padded {
		return false
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	line = bytes.TrimSpace(line)
	if len(bytes.Trim(line, "=")) == 0 {
		return false
	}
	for _, c := range line {
		if v := base64Values[c]; v != base64Pad && v >= 64 {
			return true
		}
	}
	return len(line)%4 != 0
}

// appendBase64 appends what src holds.
func appendBase64(dst, src []byte) []byte {
	d := &base64Reader{src: src}
	buf := make([]byte, len(src)/4*3+6) // one more group than there can be, so that one Read gives all
	for {
		n, err := d.Read(buf)
		dst = append(dst, buf[:n]...)
		if err != nil {
			return dst
		}
	}
}

// qpReader reads quoted-printable (RFC 2045 section 6.7).
type qpReader struct {
	src     []byte
	pos     int
	literal int // octets before this position are copied as they stand
	bad     bool
}

func (d *qpReader) defect() string {
	if d.bad {
		return DefectBadQP
	}
	return ""
}

// Read implements io.Reader.
func (d *qpReader) Read(p []byte) (int, error) {
	w := 0
	for w < len(p) && d.pos < len(d.src) {
		if d.pos < d.literal {
			n := copy(p[w:], d.src[d.pos:d.literal])
			w += n
			d.pos += n
			continue
		}
		switch c := d.src[d.pos]; c {
		case '=':
			w += d.escape(p[w:])
		case ' ', '\t':
			d.blanks()
		default:
			p[w] = c
			w++
			d.pos++
		}
	}
	if w == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return w, nil
}

// escape reads what starts with "=" and returns how many octets it wrote.
func (d *qpReader) escape(p []byte) int {
	rest := d.src[d.pos+1:]
	if len(rest) >= 2 {
		if hi, lo := unhex(rest[0]), unhex(rest[1]); hi >= 0 && lo >= 0 {
			p[0] = byte(hi<<4 | lo)
			d.pos += 3
			return 1
		}
	}
	n := blanksEnd(rest)
	switch {
	case n == len(rest):
		d.pos = len(d.src)
		return 0
	case rest[n] == '\n':
		d.pos += n + 2
		return 0
	case rest[n] == '\r':
		d.pos += n + 2
		if n+1 < len(rest) && rest[n+1] == '\n' {
			d.pos++
		}
		return 0
	}
	d.bad = true
	p[0] = '='
	d.pos++
	d.literal = d.pos + n
	return 1
}

// blanks drops white space at the end of a line, which the encoding does not keep, and keeps other.
func (d *qpReader) blanks() {
	end := d.pos + blanksEnd(d.src[d.pos:])
	if end == len(d.src) || d.src[end] == '\n' || d.src[end] == '\r' {
		d.pos = end
		return
	}
	d.literal = end
}

// blanksEnd returns how many blanks s starts with.
func blanksEnd(s []byte) int {
	for i, c := range s {
		if !isWSP(c) {
			return i
		}
	}
	return len(s)
}
