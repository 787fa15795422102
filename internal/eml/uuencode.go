package eml

import (
	"bytes"
	"io"
)

// uuReader reads the first uuencoded file of a text.
type uuReader struct {
	src  []byte // from the line after "begin"
	line []byte // decoded octets not yet read
	buf  [64]byte
	bad  bool
}

// newUUReader finds the "begin" line. Without one the octets are given as they stand.
func newUUReader(src []byte) decoder {
	for rest := src; len(rest) > 0; {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		if bytes.HasPrefix(line, []byte("begin ")) {
			return &uuReader{src: after}
		}
		rest = after
	}
	return badIdentity{bytes.NewReader(src)}
}

// badIdentity gives octets that are said to be uuencoded and are not.
type badIdentity struct{ *bytes.Reader }

func (badIdentity) defect() string { return DefectBadUuencode }

func (d *uuReader) defect() string {
	if d.bad {
		return DefectBadUuencode
	}
	return ""
}

// Read implements io.Reader.
func (d *uuReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(d.line) == 0 {
		if !d.next() {
			return 0, io.EOF
		}
	}
	n := copy(p, d.line)
	d.line = d.line[n:]
	return n, nil
}

// next decodes the next line. It returns false at the end.
func (d *uuReader) next() bool {
	if len(d.src) == 0 {
		d.bad = true // no "end"
		return false
	}
	line, rest, _ := bytes.Cut(d.src, []byte("\n"))
	d.src = rest
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || line[0] == '`' || line[0] == ' ' {
		return true
	}
	if string(bytes.TrimSpace(line)) == "end" {
		d.src = nil
		return false
	}
	if line[0] < ' ' || line[0] > '`' {
		d.bad = true
		return true
	}
	size := int(line[0]-' ') & 63
	out := d.buf[:0]
	for line = line[1:]; len(out) < size; line = line[min(4, len(line)):] {
		var v [4]byte // lines that lost their last blanks read as if they had them
		for i := range min(4, len(line)) {
			v[i] = (line[i] - ' ') & 63
		}
		out = append(out, v[0]<<2|v[1]>>4)
		if len(out) < size {
			out = append(out, v[1]<<4|v[2]>>2)
		}
		if len(out) < size {
			out = append(out, v[2]<<6|v[3])
		}
	}
	d.line = out
	return true
}
