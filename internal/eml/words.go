package eml

import (
	"strings"
	"unicode/utf8"
)

// decodeText reads an unstructured value: encoded-words (RFC 2047) decoded, raw 8-bit octets that are not UTF-8 read as
// charset, or as windows-1252 if that is "". The text has neither NUL nor line ends. defect is the code of what could
// not be decoded, or "".
func decodeText(value, charset string) (text, defect string) {
	if strings.Contains(value, "=?") {
		w := &wordScan{s: value, charset: charset}
		value, defect = w.run(), w.defect
	} else {
		value = repair(value, charset)
	}
	if strings.ContainsAny(value, "\r\n") {
		value = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ").Replace(value)
	}
	return sanitise(value), defect
}

// repair makes text of octets without encoded-words.
func repair(value, charset string) string {
	if isASCII(value) && strings.IndexByte(value, 0x1B) < 0 {
		return sanitise(value)
	}
	if utf8.ValidString(value) || charset == "" || charsetName(charset) == "us-ascii" {
		text, _ := decodeUnknown([]byte(value), "")
		return sanitise(text)
	}
	text, _ := decodeCharset([]byte(value), charset)
	return sanitise(text)
}

// word is an encoded-word.
type word struct {
	charset string
	base64  bool
	text    string
}

// wordScan decodes a value in one pass.
type wordScan struct {
	s       string
	charset string // of raw octets
	end     int    // the next "?=" at or after which a word can end, so that it is searched for once
	out     strings.Builder
	defect  string
}

// run reads literal text and runs of encoded-words by turns.
func (w *wordScan) run() string {
	pos := 0
	for pos < len(w.s) {
		i := strings.Index(w.s[pos:], "=?")
		if i < 0 {
			break
		}
		start := pos + i
		first, next, ok := w.word(start)
		if !ok {
			w.literal(w.s[pos : start+2])
			w.defect = DefectBadEncodedWord
			pos = start + 2
			continue
		}
		w.literal(w.s[pos:start])
		pos = w.words(start, first, next)
	}
	w.literal(w.s[pos:])
	return w.out.String()
}

func (w *wordScan) literal(s string) {
	w.out.WriteString(repair(s, w.charset))
}

// words decodes first and the words that follow it with nothing but white space between, and returns where they end.
// The octets of neighbours in one charset are joined before they are decoded: a character may be split between them.
func (w *wordScan) words(start int, first word, next int) int {
	var octets []byte
	group, groupStart := first, start
	var pending string // base64 that was cut within a group of four
	for current := first; ; {
		octets, pending = appendWord(octets, pending, current)
		at := next + len(w.s[next:]) - len(strings.TrimLeft(w.s[next:], " \t\r\n"))
		following, end, ok := w.word(at)
		if ok && strings.EqualFold(following.charset, group.charset) && (pending == "" || following.base64) {
			current, next = following, end
			continue
		}
		octets, _ = appendWord(octets, pending, word{})
		w.flush(octets, group.charset, w.s[groupStart:next])
		if !ok {
			return next
		}
		octets, pending, group, groupStart = nil, "", following, at
		current, next = following, end
	}
}

// appendWord appends the octets of a word. Base64 that does not end at a group of four is handed back.
func appendWord(octets []byte, pending string, current word) (out []byte, rest string) {
	if !current.base64 {
		if pending != "" {
			octets = appendBase64(octets, []byte(pending))
		}
		return appendQ(octets, current.text), ""
	}
	text := pending + current.text
	if strings.IndexByte(text, '=') < 0 && len(text)%4 != 0 {
		whole := len(text) / 4 * 4
		octets = appendBase64(octets, []byte(text[:whole]))
		return octets, text[whole:]
	}
	octets = appendBase64(octets, []byte(text))
	return octets, ""
}

// flush writes decoded octets; those of an unknown charset that are not UTF-8 either stay encoded.
func (w *wordScan) flush(octets []byte, charset, raw string) {
	text, defect := decodeCharset(octets, charset)
	if defect != "" {
		w.defect = DefectBadEncodedWord
	}
	if defect == DefectUnknownCharset && !utf8.Valid(octets) {
		text = repair(raw, w.charset)
	}
	w.out.WriteString(text)
}

// word reads the encoded-word at pos: "=?charset?encoding?text?=". Blanks and 8-bit octets in its text, where they must
// not be, are taken.
func (w *wordScan) word(pos int) (found word, end int, ok bool) {
	const longest = 100 // of the charset with its language
	s := w.s[pos:]
	if !strings.HasPrefix(s, "=?") {
		return word{}, pos, false
	}
	i := strings.IndexByte(s[2:min(len(s), 2+longest)], '?')
	if i <= 0 || len(s) < i+6 || s[2+i+2] != '?' {
		return word{}, pos, false
	}
	found.charset = s[2 : 2+i]
	if strings.ContainsAny(found.charset, " \t\"<>") {
		return word{}, pos, false
	}
	switch s[2+i+1] {
	case 'b', 'B':
		found.base64 = true
	case 'q', 'Q':
	default:
		return word{}, pos, false
	}
	textStart := pos + 2 + i + 3
	if w.end < textStart {
		w.end = len(w.s)
		if j := strings.Index(w.s[textStart:], "?="); j >= 0 {
			w.end = textStart + j
		}
	}
	if w.end >= len(w.s) {
		return word{}, pos, false
	}
	found.text = w.s[textStart:w.end]
	end = w.end + 2
	if strings.Contains(found.text, "=?") {
		return word{}, pos, false // the end is that of another word
	}
	return found, end, true
}

// appendQ appends the octets of the "Q" encoding (RFC 2047 section 4.2).
func appendQ(out []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}
