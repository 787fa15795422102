package eml

import "bytes"

// lead skips what may stand before the header but is not of it: a byte order mark, blank lines, an mbox "From " line.
func (r *reader) lead() int {
	pos := 0
	if bytes.HasPrefix(r.octets, []byte("\xEF\xBB\xBF")) {
		r.m.add(DefectByteOrderMark, "")
		pos = 3
	}
	first := pos
	for first < len(r.octets) && (r.octets[first] == '\r' || r.octets[first] == '\n') {
		first++
	}
	if first > pos && (r.fieldAt(first, len(r.octets), '\n') || r.mboxFrom(first)) {
		r.m.add(DefectLeadingBlank, "")
		pos = first
	}
	for r.mboxFrom(pos) {
		r.m.add(DefectMboxFrom, "")
		pos = r.lineEnd(pos, len(r.octets), '\n')
	}
	return pos
}

// mboxFrom reports whether the line at pos separates messages in an mbox file: "From ", perhaps quoted, and a field
// or a blank line after it.
func (r *reader) mboxFrom(pos int) bool {
	line := r.octets[pos:]
	if !bytes.HasPrefix(line, []byte("From ")) && !bytes.HasPrefix(line, []byte(">From ")) {
		return false
	}
	const longest = 1000
	i := bytes.IndexByte(line[:min(len(line), longest)], '\n')
	if i < 0 || i+1 == len(line) {
		return false
	}
	name, _ := fieldName(line[i+1 : min(len(line), i+1+longest)])
	return name != nil || bytes.HasPrefix(line[i+1:], []byte("From ")) || bytes.HasPrefix(line[i+1:], []byte(">From "))
}

// lineStyle finds out what ends a line. A message without LF has lines that end in CR alone. A header whose lines do
// may stand before a body that has LF.
func (r *reader) lineStyle(start int) (headerEOL byte) {
	lf := bytes.IndexByte(r.octets[start:], '\n')
	head := r.octets[start:]
	if lf >= 0 {
		head = head[:lf]
	}
	cr := bytes.IndexByte(head, '\r')
	if cr < 0 || (lf >= 0 && cr == len(head)-1) {
		return '\n'
	}
	if lf < 0 {
		r.eol = '\r'
		r.m.add(DefectBareCR, "")
		return '\r'
	}
	if bytes.Contains(head, []byte("\r\r")) && r.fieldAt(start, len(r.octets), '\r') {
		r.m.add(DefectBareCR, "")
		return '\r'
	}
	return '\n'
}
