package eml

import (
	"bytes"
	"strings"
)

// maxFields bounds the fields that are kept of all headers together, in multiples of Limits.HeaderFields.
const maxFields = 10

// headerScan reads one header.
type headerScan struct {
	r      *reader
	eol    byte
	header Header
	kept   int  // octets of the fields that were kept
	over   bool // a limit was reached
	crlf   bool
	lf     bool
	bad    map[string]bool // defects, each once; nil while there are none

	// The last field, if it was kept whole.
	open              bool
	start, value, end int
}

// readHeader reads the header at pos and returns it, where the body starts, and the codes of what is wrong with it. The
// header ends at a blank line, at a boundary of an open multipart, or where a line cannot be of a header: that line
// is the body's first.
func (r *reader) readHeader(pos, end int, eol byte) (h Header, body int, bad map[string]bool) {
	s := &headerScan{r: r, eol: eol}
	for pos < end {
		next := r.lineEnd(pos, end, eol)
		line := trimEOL(r.octets[pos:next])
		s.lineEnds(r.octets[pos:next])
		if len(line) == 0 {
			return s.done(next)
		}
		if line[0] == '-' {
			if i, _ := r.match(line); i >= 0 {
				return s.done(pos)
			}
		}
		switch {
		case isWSP(line[0]):
			if !s.continuation(pos, next, end, line) {
				if len(bytes.TrimSpace(line)) == 0 {
					pos = next // a line of blanks separates
				}
				return s.done(pos)
			}
		case s.field(pos, next, line):
		case s.junk(pos, next, end, line):
		default:
			s.note(DefectNoSeparator)
			return s.done(pos)
		}
		pos = next
	}
	return s.done(end)
}

func (s *headerScan) done(body int) (Header, int, map[string]bool) {
	if s.crlf && s.lf {
		s.note(DefectMixedLineEnds)
	}
	return s.header, body, s.bad
}

func (s *headerScan) note(code string) {
	if s.bad == nil {
		s.bad = make(map[string]bool)
	}
	s.bad[code] = true
}

// lineEnds remembers how a line ends.
func (s *headerScan) lineEnds(line []byte) {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		s.crlf = true
	case bytes.HasSuffix(line, []byte("\n")):
		s.lf = true
	}
}

// continuation adds a folded line to the field before it. It reports false where the header ends instead: at a line of
// blanks with neither field nor folded line after it, and at an indented first line.
func (s *headerScan) continuation(pos, next, end int, line []byte) bool {
	if len(bytes.TrimSpace(line)) == 0 && !s.r.foldedAt(next, end, s.eol) && !s.r.fieldAt(next, end, s.eol) {
		return false
	}
	if len(s.header) == 0 && !s.over {
		if !s.r.fieldAt(next, end, s.eol) {
			s.note(DefectNoSeparator)
			return false
		}
		s.note(DefectBadHeaderLine)
		s.keep("", pos, next, pos)
		return true
	}
	s.extend(pos, next)
	return true
}

// extend makes the line [pos, next) part of the last field, unless that was not kept, or was cut.
func (s *headerScan) extend(pos, next int) {
	if !s.open {
		return
	}
	size := next - pos
	if room := s.r.lim.HeaderOctets - s.kept; size > room {
		size = max(room, 0)
		s.limit()
		s.open = false
	}
	s.kept += size
	s.end = pos + size
	last := &s.header[len(s.header)-1]
	last.Raw = s.r.octets[s.start:s.end:s.end]
	last.Value = trimEOL(s.r.octets[s.value:s.end:s.end])
}

// field keeps the line if it is a field's first.
func (s *headerScan) field(pos, next int, line []byte) bool {
	name, colon := fieldName(line)
	if name == nil {
		return false
	}
	if len(name) != colon || !isASCII(name) {
		s.note(DefectBadFieldName)
	}
	s.keep(intern(name), pos, next, pos+colon+1)
	return true
}

// keep appends a field. Over the limits only the first fields that say what the body is are kept.
func (s *headerScan) keep(name string, pos, next, value int) {
	s.open = false
	size := next - pos
	if len(s.header) >= s.r.lim.HeaderFields || s.r.fields >= maxFields*s.r.lim.HeaderFields {
		s.limit()
	}
	if room := s.r.lim.HeaderOctets - s.kept; size > room {
		size = max(room, 0)
		s.limit()
	}
	if s.over {
		if !aboutBody(name) || s.header.count(name) > 0 {
			return
		}
		size = min(next-pos, s.r.lim.HeaderOctets)
	}
	if pos+size < value {
		return
	}
	s.kept += size
	s.r.fields++
	s.open, s.start, s.value, s.end = size == next-pos, pos, value, pos+size
	s.header = append(s.header, Field{
		Name:  name,
		Raw:   s.r.octets[s.start:s.end:s.end],
		Value: trimEOL(s.r.octets[s.value:s.end:s.end]),
	})
}

func (s *headerScan) limit() {
	s.over = true
	s.note(DefectHeaderLimit)
}

// junk decides what a line is that is neither field nor continuation: a continuation that lost its indent, an opaque
// line (a field follows), or the start of the body (false).
func (s *headerScan) junk(pos, next, end int, line []byte) bool {
	if n := len(s.header); n > 0 && aboutBody(s.header[n-1].Name) &&
		bytes.HasSuffix(bytes.TrimSpace(s.header[n-1].Value), []byte(";")) && bytes.IndexByte(line, '=') > 0 {
		s.note(DefectBadHeaderLine)
		s.extend(pos, next)
		return true
	}
	if s.r.fieldAt(next, end, s.eol) || s.blankThenBase64(next, end) {
		s.note(DefectBadHeaderLine)
		s.keep("", pos, next, pos)
		return true
	}
	return false
}

// blankThenBase64 reports whether a blank line follows and the body is base64, to which a stray line must not be added.
func (s *headerScan) blankThenBase64(next, end int) bool {
	if len(s.header) == 0 || next >= end {
		return false
	}
	if len(trimEOL(s.r.octets[next:s.r.lineEnd(next, end, s.eol)])) != 0 {
		return false
	}
	return strings.EqualFold(s.header.Get("Content-Transfer-Encoding"), EncodingBase64)
}

// fieldAt reports whether the line at pos is beyond doubt a header field: one with a name that messages have.
func (r *reader) fieldAt(pos, end int, eol byte) bool {
	if pos >= end {
		return false
	}
	const enough = 200 // octets of the line that are looked at
	line := r.octets[pos:min(end, pos+enough)]
	if i := bytes.IndexByte(line, eol); i >= 0 {
		line = line[:i]
	}
	name, _ := fieldName(line)
	return name != nil && usualName(string(name))
}

// foldedAt reports whether the line at pos is indented.
func (r *reader) foldedAt(pos, end int, eol byte) bool {
	if pos >= end || !isWSP(r.octets[pos]) {
		return false
	}
	const enough = 200 // octets of the line that are looked at
	line := r.octets[pos:min(end, pos+enough)]
	if i := bytes.IndexByte(line, eol); i >= 0 {
		line = line[:i]
	}
	return len(bytes.TrimSpace(line)) > 0
}

// fieldName returns the name of the field that starts with line, and where its colon is; nil if none does.
func fieldName(line []byte) (name []byte, colon int) {
	colon = bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, colon
	}
	name = bytes.TrimRight(line[:colon], " \t")
	if len(name) == 0 || len(name) > 200 {
		return nil, colon
	}
	for _, c := range name {
		if c <= ' ' || c == 0x7F {
			return nil, colon
		}
	}
	if bytes.HasPrefix(line[colon:], []byte("://")) {
		return nil, colon
	}
	return name, colon
}

// usualName reports whether name is of a field rather than a word of a text before a colon.
func usualName(name string) bool {
	switch strings.ToLower(name) {
	case "from", "to", "cc", "bcc", "subject", "date", "sender", "received", "references", "comments", "keywords",
		"organization", "precedence", "importance", "priority", "status", "lines":
		return true
	}
	return strings.IndexByte(name, '-') > 0
}

// aboutBody reports whether the field says what the body is.
func aboutBody(name string) bool {
	return strings.EqualFold(name, "Content-Type") || strings.EqualFold(name, "Content-Transfer-Encoding") ||
		strings.EqualFold(name, "Content-Disposition") || strings.EqualFold(name, "Content-ID")
}

// trimEOL removes one line end: CRLF, LF or CR.
func trimEOL(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
