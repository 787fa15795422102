package classify

import (
	"bytes"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/eml"
)

// peekOctets is how much of a part is looked at for a header.
const peekOctets = 64 << 10

// Original is a part that carries a forwarded message.
type Original struct {
	Part     *eml.Part
	Within   []*eml.Part // the multiparts around it, outermost first
	Span     eml.Span    // its octets in the wrapper, encoded: the part's body, or a uuencoded file in its text
	Encoding string      // to be undone, one of the eml.Encoding constants; identity where nothing is, whatever the part declares
}

// Encoded returns its octets as they stand in the wrapper, without a copy.
func (o Original) Encoded(m *eml.Message) []byte {
	end := o.Span.Offset + o.Span.Length
	return m.Octets[o.Span.Offset:end:end]
}

// where names the part without a word of the sender's.
func (o Original) where() string {
	switch o.Part.MediaType {
	case "message/rfc822", "message/global":
		if len(o.Within) == 0 {
			return "its body, " + o.Part.MediaType
		}
		return o.Part.MediaType
	}
	return "a file"
}

// Originals returns the parts of m that carry a forwarded message, in their order. Exactly one level: what stands inside
// of a message/* part is the original's own.
//
// A part counts if it is message/rfc822 or message/global with at least one header field of mail inside (RFC 2046
// section 5.2.1), or a leaf named .eml, .u8msg or .msg that begins with at least two of From, Date, Subject, Received and
// Message-ID, or has such a file uuencoded in its text. Digests and reports are not searched.
func Originals(m *eml.Message) []Original {
	var found []Original
	var search func(p *eml.Part, within []*eml.Part)
	search = func(p *eml.Part, within []*eml.Part) {
		if len(p.Children) > 0 {
			if p.MediaType == "multipart/digest" || p.MediaType == "multipart/report" {
				return
			}
			inside := append(slices.Clip(within), p)
			for _, child := range p.Children {
				search(child, inside)
			}
			return
		}
		spans := uuencoded(m, p)
		for _, span := range spans {
			found = append(found, Original{Part: p, Within: within, Span: span, Encoding: eml.EncodingUuencode})
		}
		if len(spans) > 0 {
			return
		}
		if encoding, ok := carries(m, p); ok {
			span := eml.Span{Offset: p.BodyOffset, Length: p.BodyLength}
			found = append(found, Original{Part: p, Within: within, Span: span, Encoding: encoding})
		}
	}
	search(m.Root, nil)
	return found
}

// Sealed reports whether m is encrypted or signed as a whole in a way that hides its parts: multipart/encrypted
// (RFC 1847), S/MIME without a clear text (RFC 8551).
func Sealed(m *eml.Message) bool {
	switch mediaTypeOf(m.Root) {
	case "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime":
		return true
	}
	return false
}

// carries reports whether p carries a message, and which encoding has to be undone for it.
func carries(m *eml.Message, p *eml.Part) (encoding string, ok bool) {
	if p.BodyLength == 0 {
		return "", false
	}
	enough := isMail
	switch {
	case p.MediaType == "message/rfc822" || p.MediaType == "message/global":
	case namedMessage(p) && !strings.HasPrefix(p.MediaType, "multipart/"):
		enough = looksLikeMail
	default:
		return "", false
	}
	plain := enough(peek(bytes.NewReader(m.Encoded(p))))
	if p.Encoding == eml.EncodingIdentity {
		return eml.EncodingIdentity, plain
	}
	if plain && lies(p.Encoding, m.Encoded(p)) {
		return eml.EncodingIdentity, true
	}
	if enough(peek(m.Decode(p))) {
		return p.Encoding, true
	}
	return eml.EncodingIdentity, plain
}

// uuencoded finds messages that stand uuencoded in the text of p: by a line "begin 644 name.eml", up to "end" or as far
// as the part goes.
func uuencoded(m *eml.Message, p *eml.Part) []eml.Span {
	if p.Encoding != eml.EncodingUuencode && (p.MediaType != "text/plain" || p.Encoding != eml.EncodingIdentity) {
		return nil
	}
	octets := m.Encoded(p)
	if !bytes.Contains(octets, []byte("begin ")) {
		return nil
	}
	var spans []eml.Span
	for pos := 0; ; {
		begin := uuBegin.FindIndex(octets[pos:])
		if begin == nil {
			return spans
		}
		start, end := pos+begin[0], len(octets)
		if i := uuEnd.FindIndex(octets[pos+begin[1]:]); i != nil {
			end = pos + begin[1] + i[1]
		}
		if looksLikeMail(peek(eml.DecodeSpan(octets[start:end], eml.EncodingUuencode))) {
			spans = append(spans, eml.Span{Offset: p.BodyOffset + int64(start), Length: int64(end - start)})
		}
		pos = end
	}
}

// What stands around a uuencoded message.
var (
	uuBegin = regexp.MustCompile(`(?m)^begin [0-7]{3,4} [^\r\n]{1,255}\.(?i:eml|u8msg)[ \t]*\r?$`)
	uuEnd   = regexp.MustCompile(`(?m)^end[ \t]*\r?$`)
)

// lies reports whether octets that begin with a readable header cannot be what the declared encoding says: writers
// that label a message they did not encode. In quoted-printable each "=" of the header would be followed by two
// hexadecimal digits or a line end.
func lies(encoding string, octets []byte) bool {
	if encoding != eml.EncodingQuotedPrintable {
		return true // base64 and uuencode of a header are not readable
	}
	for {
		i := bytes.IndexByte(octets, '=')
		if i < 0 || i > peekOctets {
			return false
		}
		octets = octets[i+1:]
		if !qpRest.Match(octets[:min(len(octets), 80)]) {
			return true
		}
	}
}

// qpRest matches what may follow "=" in quoted-printable (RFC 2045 section 6.7).
var qpRest = regexp.MustCompile(`^([0-9A-Fa-f]{2}|[ \t]*(\r|\n|$))`)

func peek(r io.Reader) eml.Header {
	octets, _ := io.ReadAll(io.LimitReader(r, peekOctets)) // what cannot be decoded ends the header: what came before counts
	if len(octets) == 0 {
		return nil
	}
	lim := eml.DefaultLimits()
	lim.Depth, lim.Parts = 1, 1
	return eml.Read(octets, lim).Root.Header
}

// isMail reports whether h has a field that mail has.
func isMail(h eml.Header) bool {
	for _, f := range h {
		name := strings.ToLower(f.Name)
		switch name {
		case "from", "to", "cc", "bcc", "subject", "date", "message-id", "received", "return-path", "sender", "reply-to",
			"mime-version", "in-reply-to", "references", "delivered-to":
			return true
		}
		if strings.HasPrefix(name, "content-") || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "resent-") {
			return true
		}
	}
	return false
}

// looksLikeMail asks for more, of a part that nothing but its name calls a message.
func looksLikeMail(h eml.Header) bool {
	seen := make(map[string]bool)
	for _, f := range h {
		switch name := strings.ToLower(f.Name); name {
		case "from", "date", "subject", "received", "message-id":
			seen[name] = true
		}
	}
	return len(seen) >= 2
}

// namedMessage reports whether p is called a message by its name, or is a file of which nothing at all is said. (.msg is
// Outlook's own format, but also what some clients call plain messages.)
func namedMessage(p *eml.Part) bool {
	name := strings.ToLower(strings.TrimSpace(p.Filename))
	if name == "" {
		return p.MediaType == "application/octet-stream"
	}
	return strings.HasSuffix(name, ".eml") || strings.HasSuffix(name, ".u8msg") || strings.HasSuffix(name, ".msg")
}

// mediaTypeOf returns what the part's header says, even where eml reads the part as something else because it has no
// boundary.
func mediaTypeOf(p *eml.Part) string {
	if t, _, _ := strings.Cut(p.Header.Get("Content-Type"), ";"); t != "" {
		return strings.ToLower(strings.TrimSpace(t))
	}
	return p.MediaType
}
