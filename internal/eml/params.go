package eml

import (
	"slices"
	"strconv"
	"strings"
)

// maxParams bounds the parameters of one field, and maxSegments the segments of one value (RFC 2231 section 3).
const (
	maxParams   = 200
	maxSegments = 1000
)

// parseParams splits an unfolded value such as that of Content-Type into what stands before the first ";" and its
// parameters, names in lower case, values decoded (RFC 2231, and encoded-words, which do not belong there). The first
// of several of one name counts. It reports false if something had to be repaired.
func parseParams(value string) (head string, params map[string]string, ok bool) {
	s := &paramScan{s: value, ok: true}
	head = s.head()
	for len(s.list) < maxParams && s.next() {
	}
	return head, s.collect(), s.ok
}

// param is a parameter as it stands.
type param struct{ name, value string }

// paramScan reads parameters.
type paramScan struct {
	s       string
	pos     int
	ok      bool
	noQuote bool // there is no further closing quote
	list    []param
}

// head reads up to the first ";" and drops comments.
func (s *paramScan) head() string {
	end := strings.IndexByte(s.s, ';')
	if end < 0 {
		end = len(s.s)
		// QUIRK: "text/plain charset=utf-8", the semicolon forgotten.
		if i := strings.IndexByte(s.s, '='); i > 0 {
			if j := strings.LastIndexAny(strings.TrimRight(s.s[:i], " "), " \t"); j > 0 {
				s.ok = false
				end = j
			}
		}
	}
	s.pos = end
	head := s.s[:end]
	if i := strings.IndexByte(head, '('); i >= 0 {
		head = head[:i]
	}
	return strings.TrimSpace(head)
}

// next reads one parameter. It returns false at the end.
func (s *paramScan) next() bool {
	for s.pos < len(s.s) && (s.s[s.pos] == ';' || isWSP(s.s[s.pos])) {
		s.pos++
	}
	if s.pos >= len(s.s) {
		return false
	}
	if s.s[s.pos] == '(' {
		return s.comment()
	}
	start := s.pos
	for s.pos < len(s.s) && s.s[s.pos] != '=' && s.s[s.pos] != ';' {
		s.pos++
	}
	name := strings.ToLower(strings.TrimSpace(s.s[start:s.pos]))
	if s.pos >= len(s.s) || s.s[s.pos] == ';' {
		s.ok = false
		return true // a word without value
	}
	s.pos++
	for s.pos < len(s.s) && isWSP(s.s[s.pos]) {
		s.pos++
	}
	s.list = append(s.list, param{name: name, value: s.value()})
	return true
}

// comment skips a comment in place of a parameter.
func (s *paramScan) comment() bool {
	i := strings.IndexByte(s.s[s.pos:], ')')
	if i < 0 {
		s.ok = false
		return false
	}
	s.pos += i + 1
	return true
}

// value reads a value: a quoted string, or whatever stands before the next ";".
func (s *paramScan) value() string {
	if s.pos < len(s.s) && s.s[s.pos] == '"' {
		if value, found := s.quoted(); found {
			return value
		}
		s.ok = false
	}
	end := len(s.s)
	if i := strings.IndexByte(s.s[s.pos:], ';'); i >= 0 {
		end = s.pos + i
	}
	value := s.s[s.pos:end]
	s.pos = end
	if i := strings.Index(value, " ("); i > 0 && strings.HasSuffix(strings.TrimSpace(value), ")") {
		value = value[:i] // a comment
	}
	value = strings.TrimSpace(value)
	if strings.ContainsAny(value, " \t\"") {
		s.ok = false
	}
	return strings.Trim(value, `"`)
}

// quoted reads a quoted string. A quote counts as the closing one if a parameter, a comment or the end comes after it:
// there are names with quotes inside. A backslash counts before a quote or a backslash only: there are names with a
// path of DOS.
func (s *paramScan) quoted() (string, bool) {
	if s.noQuote {
		return "", false
	}
	out := make([]byte, 0, 64)
	for i := s.pos + 1; i < len(s.s); i++ {
		switch c := s.s[i]; {
		case c == '\\' && i+1 < len(s.s) && (s.s[i+1] == '"' || s.s[i+1] == '\\'):
			i++
			out = append(out, s.s[i])
		case c == '"' && s.closes(i+1):
			s.pos = i + 1
			return string(out), true
		case c == '"':
			s.ok = false
			out = append(out, c)
		default:
			out = append(out, c)
		}
	}
	s.noQuote = true
	return "", false
}

// closes reports whether a parameter, a comment or the end comes at pos.
func (s *paramScan) closes(pos int) bool {
	const farthest = 64
	rest := s.s[pos:min(len(s.s), pos+farthest)]
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" || rest[0] == ';' || rest[0] == '(' {
		return true
	}
	name, _, found := strings.Cut(rest, "=")
	if !found || name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i] | 0x20; (c < 'a' || c > 'z') && c != '-' && c != '*' && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// collect decodes the parameters. Those of RFC 2231 win over plain ones.
func (s *paramScan) collect() map[string]string {
	if len(s.list) == 0 {
		return nil
	}
	params := make(map[string]string, len(s.list))
	var parts map[string][]segment
	for _, p := range s.list {
		name, seg, extended := segmentOf(p)
		if extended {
			if parts == nil {
				parts = make(map[string][]segment)
			}
			if len(parts[name]) < maxSegments {
				parts[name] = append(parts[name], seg)
			}
			continue
		}
		if _, double := params[p.name]; double {
			s.ok = false
			continue
		}
		params[p.name] = plainValue(p)
	}
	for name, segs := range parts {
		params[name] = joinSegments(segs)
	}
	return params
}

// plainValue returns the value of a parameter that is not in the form of RFC 2231. A boundary stays as it is, for it is
// compared with octets.
func plainValue(p param) string {
	if p.name == "boundary" {
		return p.value
	}
	text, _ := decodeText(p.value, "")
	if p.name == "charset" {
		return strings.Trim(text, " '\"")
	}
	return text
}

// segment is one of name*0, name*1*, name*.
type segment struct {
	index   int
	encoded bool
	value   string
}

// segmentOf splits a parameter name of RFC 2231.
func segmentOf(p param) (name string, seg segment, ok bool) {
	name, rest, star := strings.Cut(p.name, "*")
	if !star || name == "" {
		return p.name, segment{}, false
	}
	seg.value = p.value
	if strings.HasSuffix(p.name, "*") {
		seg.encoded = true
		rest = strings.TrimSuffix(rest, "*")
	}
	if rest != "" {
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return p.name, segment{}, false
		}
		seg.index = n
	}
	return name, seg, true
}

// joinSegments puts segments together and decodes them (RFC 2231 section 4.1).
func joinSegments(segs []segment) string {
	slices.SortStableFunc(segs, func(a, b segment) int { return a.index - b.index })
	charset := ""
	out := make([]byte, 0, 64)
	encoded := false
	for i, seg := range segs {
		value := seg.value
		if i == 0 && seg.encoded {
			if first := strings.SplitN(value, "'", 3); len(first) == 3 {
				charset, value = first[0], first[2]
			}
		}
		if i > 0 && seg.index == segs[i-1].index {
			continue
		}
		if !seg.encoded {
			out = append(out, value...)
			continue
		}
		encoded = true
		out = appendPercent(out, value)
	}
	if !encoded {
		text, _ := decodeText(string(out), "")
		return text
	}
	text, _ := decodeCharset(out, charset)
	return sanitise(text)
}

// appendPercent appends s with %XX undone.
func appendPercent(out []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return out
}

// unhex returns the value of a hexadecimal digit, -1 if c is none.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
