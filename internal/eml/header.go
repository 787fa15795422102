package eml

import (
	"bytes"
	"strings"
)

// Get returns the value of the first field of that name (in any case), unfolded and trimmed, its octets undecoded. It
// is "" if there is none.
func (h Header) Get(name string) string {
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			return unfold(h[i].Value)
		}
	}
	return ""
}

// All returns the values of all fields of that name, as Get does, in their order.
func (h Header) All(name string) []string {
	var values []string
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			values = append(values, unfold(h[i].Value))
		}
	}
	return values
}

// Text returns Get as text: encoded-words (RFC 2047) decoded, raw 8-bit octets read as UTF-8 if they are valid, else in
// the charset that this header gives the body, else as windows-1252. It is always valid UTF-8 without NUL.
func (h Header) Text(name string) string {
	value := h.Get(name)
	charset := ""
	if !isASCII(value) {
		_, params, _ := parseParams(h.Get("Content-Type"))
		charset = params["charset"]
	}
	text, _ := decodeText(value, charset)
	return text
}

// count returns how many fields have that name.
func (h Header) count(name string) int {
	n := 0
	for i := range h {
		if strings.EqualFold(h[i].Name, name) {
			n++
		}
	}
	return n
}

// unfold removes line ends (RFC 5322 section 2.2.3) and white space around the value. A line end without white space
// after it, which stands only where a broken line was joined, becomes a space.
func unfold(value []byte) string {
	value = bytes.TrimSpace(value)
	if bytes.IndexByte(value, '\n') < 0 && bytes.IndexByte(value, '\r') < 0 {
		return string(value)
	}
	out := make([]byte, 0, len(value))
	for i, c := range value {
		if c != '\r' && c != '\n' {
			out = append(out, c)
			continue
		}
		if next := value[i+1]; next != ' ' && next != '\t' && next != '\r' && next != '\n' {
			out = append(out, ' ')
		}
	}
	return string(out)
}

// intern returns name as a string, without an allocation for the names that most messages have.
func intern(name []byte) string {
	switch string(name) {
	case "From":
		return "From"
	case "To":
		return "To"
	case "Cc":
		return "Cc"
	case "Subject":
		return "Subject"
	case "Date":
		return "Date"
	case "Message-ID":
		return "Message-ID"
	case "Message-Id":
		return "Message-Id"
	case "In-Reply-To":
		return "In-Reply-To"
	case "References":
		return "References"
	case "Received":
		return "Received"
	case "Return-Path":
		return "Return-Path"
	case "MIME-Version":
		return "MIME-Version"
	case "Content-Type":
		return "Content-Type"
	case "Content-Transfer-Encoding":
		return "Content-Transfer-Encoding"
	case "Content-Disposition":
		return "Content-Disposition"
	case "Content-ID":
		return "Content-ID"
	}
	return string(name)
}
