package eml

import (
	"slices"
	"strings"
)

// Address is a mailbox of an address field (RFC 5322 section 3.4).
type Address struct {
	Name    string `json:"name"`    // the display name, decoded; else the comment
	Address string `json:"address"` // addr-spec; "" if it cannot be parsed, then Name holds what stands there
}

// maxAddresses bounds the addresses that are kept of a field.
const maxAddresses = 10_000

// ParseAddresses reads an address list, undecoded as Header.Get gives it, address by address: what cannot be parsed is
// kept in Name and spoils no other. Groups are opened, routes and comments dropped (a comment names an address without
// display name), encoded-words decoded, raw 8-bit octets repaired. Lists with ";" between addresses are taken too. A
// word in angle brackets is an address also without "@". At most 10,000 are returned.
func ParseAddresses(value string) []Address {
	return parseAddresses(value, "")
}

// parseAddresses takes raw 8-bit octets to be in charset if they are not UTF-8.
func parseAddresses(value, charset string) []Address {
	s := &addressScan{s: value, charset: charset, words: wordScan{s: value}}
	for s.pos < len(s.s) && len(s.list) < maxAddresses {
		s.next()
	}
	s.finish()
	return s.list
}

// addressScan reads an address list in one pass. Searches for a closing character that failed once are not repeated.
type addressScan struct {
	s       string
	charset string // of raw octets
	pos     int
	list    []Address

	// The address that is being read.
	start   int // where it starts in s
	phrase  []token
	comment string
	angle   string
	hasAddr bool
	mark    int // how many words stand before "<"

	words              wordScan
	close              int // the next ">" at or after which an address can end
	noQuote, noComment bool
}

// token is a word of a phrase.
type token struct {
	text   string // as it stands; a quoted string without its quotes and escapes
	quoted bool
	space  bool // white space stands before it
}

// next reads one token, or a delimiter.
func (s *addressScan) next() {
	switch c := s.s[s.pos]; c {
	case ',', ';':
		s.finish()
		s.pos++
		s.start = s.pos
	case ':':
		s.pos++
		s.group()
	case '"':
		s.quoted()
	case '(':
		s.commented()
	case '<':
		s.angled()
	case ' ', '\t', '\r', '\n':
		s.pos++
	default:
		s.word()
	}
}

// group drops the name of a group, unless the colon is of something else: "mailto:", an IPv6 literal.
func (s *addressScan) group() {
	for _, t := range s.phrase {
		if !t.quoted && (strings.IndexByte(t.text, '@') >= 0 || strings.IndexByte(t.text, '[') >= 0) {
			s.phrase = append(s.phrase, token{text: ":"})
			return
		}
	}
	if s.hasAddr {
		return
	}
	s.phrase, s.comment, s.start = nil, "", s.pos
}

// quoted reads a quoted string.
func (s *addressScan) quoted() {
	if !s.noQuote {
		var out []byte
		for i := s.pos + 1; i < len(s.s); i++ {
			switch c := s.s[i]; {
			case c == '\\' && i+1 < len(s.s):
				i++
				out = append(out, s.s[i])
			case c == '"':
				s.push(token{text: string(out), quoted: true})
				s.pos = i + 1
				return
			default:
				out = append(out, c)
			}
		}
		s.noQuote = true
	}
	s.push(token{text: `"`})
	s.pos++
}

// commented reads a comment, which may hold others.
func (s *addressScan) commented() {
	if !s.noComment {
		depth := 0
		for i := s.pos; i < len(s.s); i++ {
			switch s.s[i] {
			case '\\':
				i++
			case '(':
				depth++
			case ')':
				depth--
			}
			if depth == 0 && i < len(s.s) {
				if s.comment == "" {
					s.comment = unescape(s.s[s.pos+1 : i])
				}
				s.pos = i + 1
				return
			}
		}
		s.noComment = true
	}
	s.push(token{text: "("})
	s.pos++
}

// angled reads "<…>". Where another "<" stands before the ">", it ends at the comma between them, or begins there.
func (s *addressScan) angled() {
	rest := s.s[s.pos+1:]
	if s.close <= s.pos {
		s.close = len(s.s)
		if i := strings.IndexByte(rest, '>'); i >= 0 {
			s.close = s.pos + 1 + i
		}
	}
	inside := s.s[s.pos+1 : s.close]
	skip := 1 // the ">"
	if i := strings.IndexByte(inside, '<'); i >= 0 || s.close == len(s.s) {
		if i >= 0 {
			inside = inside[:i]
		}
		comma := strings.IndexByte(inside, ',')
		if comma < 0 && i >= 0 {
			s.pos += 1 + i // "<<a@b>"
			return
		}
		if comma >= 0 {
			inside = inside[:comma]
		}
		skip = 0
	}
	if s.hasAddr { // two without a comma between them: the words after the first are of the second
		words := s.phrase[s.mark:]
		s.phrase = s.phrase[:s.mark:s.mark]
		s.finish()
		s.phrase, s.start = words, s.pos
	}
	s.pos = min(s.pos+1+len(inside)+skip, len(s.s))
	for s.pos < len(s.s) && s.s[s.pos] == '>' {
		s.pos++
	}
	s.angle, s.hasAddr, s.mark = strings.TrimSpace(inside), true, len(s.phrase)
}

// word reads an atom, or an encoded-word as a whole, since there are some with commas, quotes and brackets in them.
func (s *addressScan) word() {
	if s.s[s.pos] == '=' {
		if _, end, ok := s.words.word(s.pos); ok {
			s.push(token{text: s.s[s.pos:end]})
			s.pos = end
			return
		}
	}
	i := s.pos + 1
	for i < len(s.s) && strings.IndexByte(",;:\"(< \t\r\n", s.s[i]) < 0 {
		i++
	}
	s.push(token{text: s.s[s.pos:i]})
	s.pos = i
}

func (s *addressScan) push(t token) {
	t.space = s.pos > s.start && strings.IndexByte(" \t\r\n)>", s.s[s.pos-1]) >= 0
	s.phrase = append(s.phrase, t)
}

// finish makes an address of what was read since the last delimiter, or several where the commas are missing.
func (s *addressScan) finish() {
	raw := strings.TrimSpace(s.s[s.start:s.pos])
	phrase, comment, angle, hasAddr := s.phrase, s.comment, s.angle, s.hasAddr
	s.phrase, s.comment, s.angle, s.hasAddr = nil, "", "", false
	if len(phrase) == 0 && !hasAddr {
		return
	}
	if hasAddr {
		s.add(s.addrSpec(angle), s.phraseText(phrase), comment, raw)
		return
	}
	for first := true; first || len(phrase) > 0; first = false {
		var address, name string
		address, name, phrase = s.bareAddress(phrase)
		s.add(address, name, comment, raw)
	}
}

// add keeps an address; without one, what stands there.
func (s *addressScan) add(address, name, comment, raw string) {
	switch {
	case address == "":
		name, _ = decodeText(raw, s.charset)
	case name == "":
		name, _ = decodeText(comment, s.charset)
	}
	s.list = append(s.list, Address{Name: strings.TrimSpace(name), Address: address})
}

// bareAddress finds the first address in a phrase without angle brackets. What stands around it is its name, up to the
// next address, which is of the rest.
func (s *addressScan) bareAddress(phrase []token) (address, name string, rest []token) {
	at := nextAt(phrase, 0)
	if at == len(phrase) {
		return "", "", nil
	}
	first, last := at, at
	// RFC 5322 section 4.4 allows blanks around "@" and "."; a quoted local part is a token of its own.
	for first > 0 && (!phrase[first].space || joins(phrase[first-1].text, phrase[first].text)) {
		first--
	}
	for last+1 < len(phrase) && (!phrase[last+1].space || joins(phrase[last].text, phrase[last+1].text)) {
		last++
	}
	var spec strings.Builder
	for _, t := range phrase[first : last+1] {
		if t.quoted {
			spec.WriteString(quote(t.text))
		} else {
			spec.WriteString(t.text)
		}
	}
	end := nextAt(phrase, last+1)
	around := slices.Concat(phrase[:first], phrase[last+1:end])
	return s.addrSpec(spec.String()), s.phraseText(around), phrase[end:]
}

// nextAt returns the index of the next word with an "@", from i on.
func nextAt(phrase []token, i int) int {
	for ; i < len(phrase); i++ {
		t := phrase[i]
		if !t.quoted && strings.IndexByte(t.text, '@') >= 0 && !strings.HasPrefix(t.text, "=?") {
			return i
		}
	}
	return len(phrase)
}

// joins reports whether two words are of one address though white space stands between them.
func joins(a, b string) bool {
	return strings.HasSuffix(a, "@") || strings.HasPrefix(b, "@") || a == "." || strings.HasPrefix(b, ".") ||
		(strings.HasSuffix(a, ".") && strings.IndexByte(a, '@') >= 0)
}

// phraseText returns a display name. Encoded-words in quotes are decoded too, as all mail readers do.
func (s *addressScan) phraseText(phrase []token) string {
	var raw strings.Builder
	for i, t := range phrase {
		if i > 0 && t.space {
			raw.WriteByte(' ')
		}
		raw.WriteString(t.text)
	}
	text, _ := decodeText(strings.TrimSpace(raw.String()), s.charset)
	if n := len(text); n > 2 && text[0] == '\'' && text[n-1] == '\'' {
		return text[1 : n-1] // QUIRK: Outlook puts names in single quotes
	}
	return text
}

// addrSpec cleans what stands in angle brackets: a route, "mailto:", blanks. It is "" if that is no address.
func (s *addressScan) addrSpec(spec string) string {
	if strings.HasPrefix(spec, "=?") && strings.HasSuffix(spec, "?=") {
		spec, _ = decodeText(spec, s.charset)
	}
	if n := len(spec); n > 2 && spec[0] == '[' && spec[n-1] == ']' {
		spec = spec[1 : n-1] // QUIRK: Outlook writes [mailto:a@b]
	}
	if strings.HasPrefix(spec, "@") {
		if i := strings.IndexByte(spec, ':'); i > 0 {
			spec = spec[i+1:]
		}
	}
	if len(spec) > 7 && strings.EqualFold(spec[:7], "mailto:") {
		spec = spec[7:]
	}
	spec = strings.Trim(spec, " \t<>'")
	if !strings.HasPrefix(spec, `"`) {
		spec = withoutComments(spec)
		if strings.ContainsAny(spec, " \t\r\n") {
			spec = strings.Join(strings.Fields(spec), " ")
			spec = strings.NewReplacer(" @", "@", "@ ", "@", " .", ".", ". ", ".").Replace(spec)
		}
		if strings.ContainsAny(spec, " ,;") {
			return ""
		}
	}
	spec = strings.TrimRight(spec, ".")
	if at := strings.LastIndexByte(spec, '@'); at == 0 || at == len(spec)-1 {
		return ""
	}
	return repair(spec, s.charset)
}

// withoutComments drops comments from an address.
func withoutComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var out strings.Builder
	depth := 0
	for _, c := range []byte(s) {
		switch {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteByte(c)
		}
	}
	return strings.TrimSpace(out.String())
}

// quote writes a local part as a quoted string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// unescape undoes quoted pairs.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out = append(out, s[i])
	}
	return string(out)
}
