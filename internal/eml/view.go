package eml

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"strings"
	"time"
)

// DateSource says where View.Date comes from.
type DateSource string

// The sources of View.Date.
const (
	DateFromDate     DateSource = "date"     // the Date field
	DateFromReceived DateSource = "received" // the topmost Received field, the Date field being absent or unreadable
	DateNone         DateSource = "none"     // View.Date is nil
)

// View is a message decoded for people: every string is valid UTF-8 without NUL, no list is nil. Its JSON form is that of
// `postroom inspect`.
type View struct {
	MessageID   string       `json:"message_id"`  // without angle brackets; "" is null in JSON
	InReplyTo   []string     `json:"in_reply_to"` // the first, or null, in JSON
	References  []string     `json:"references"`
	From        []Address    `json:"from"`
	Sender      *Address     `json:"sender"`
	ReplyTo     []Address    `json:"reply_to"`
	To          []Address    `json:"to"`
	Cc          []Address    `json:"cc"`
	Bcc         []Address    `json:"bcc"`
	Subject     string       `json:"subject"`
	Date        *time.Time   `json:"date"` // in the sender's zone; nil if there is none
	Text        string       `json:"text"` // lines end in LF
	HTML        string       `json:"html"` // as received, not made safe
	Attachments []Attachment `json:"attachments"`
	Defects     []string     `json:"defects"` // codes, each once

	DateRaw       string     `json:"-"` // the Date field as it stands
	DateSource    DateSource `json:"-"`
	DateOffset    int        `json:"-"` // the zone of Date, in minutes east of UTC
	TextTruncated bool       `json:"-"` // Text is not whole: Limits.ViewOctets
	HTMLTruncated bool       `json:"-"`
}

// Attachment is a part that is not shown as body.
type Attachment struct {
	Path      string `json:"path"` // part number in the manner of IMAP; "1" for a message that is one part
	Filename  string `json:"filename"`
	MediaType string `json:"media_type"`
	ContentID string `json:"content_id"` // without angle brackets
	Inline    bool   `json:"inline"`     // meant to be shown within the body
	Octets    int64  `json:"octets"`     // decoded
	SHA256    Digest `json:"sha256"`     // of the decoded octets; hexadecimal in JSON

	Offset   int64  `json:"-"` // into Message.Octets
	Length   int64  `json:"-"` // encoded
	Encoding string `json:"-"` // a value of Part.Encoding: DecodeSpan undoes it
}

// Digest is a SHA-256 digest.
type Digest [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler: lower-case hexadecimal.
func (d Digest) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, d[:]), nil
}

// MarshalJSON implements json.Marshaler.
func (v View) MarshalJSON() ([]byte, error) {
	type plain View
	var id, reply *string
	if v.MessageID != "" {
		id = &v.MessageID
	}
	if len(v.InReplyTo) > 0 {
		reply = &v.InReplyTo[0]
	}
	return json.Marshal(struct {
		MessageID *string `json:"message_id"`
		InReplyTo *string `json:"in_reply_to"`
		plain
	}{id, reply, plain(v)})
}

// View decodes the message. It reads every part once; text and HTML are bounded by Limits.ViewOctets, attachments are
// hashed as they stream. Nothing of the view refers to the message's octets.
func (m *Message) View() *View {
	h := m.Root.Header
	b := &viewBuilder{m: m, v: &View{
		MessageID:  messageID(h.Get("Message-ID")),
		InReplyTo:  list(MessageIDs(h.Get("In-Reply-To"))),
		References: list(MessageIDs(h.Get("References"))),
	}}
	for _, d := range m.Defects {
		b.defect(d.Code)
	}
	bodies := m.chooseBodies()
	b.charset = bodies.charset()
	b.fields(h)
	b.date(h)
	b.bodies(bodies)
	b.attachments(bodies.attachments)
	b.v.Defects = list(b.v.Defects)
	return b.v
}

// viewBuilder fills in a view.
type viewBuilder struct {
	m       *Message
	v       *View
	charset string // of raw octets in header fields
	seen    map[string]bool
}

// defect notes a code once.
func (b *viewBuilder) defect(code string) {
	if code == "" || b.seen[code] {
		return
	}
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	b.seen[code] = true
	b.v.Defects = append(b.v.Defects, code)
}

// list returns s, or an empty list for nil.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// fields decodes the header fields but the date.
func (b *viewBuilder) fields(h Header) {
	v := b.v
	v.From = b.addresses(h, "From")
	v.ReplyTo = b.addresses(h, "Reply-To")
	v.To = b.addresses(h, "To")
	v.Cc = b.addresses(h, "Cc")
	v.Bcc = b.addresses(h, "Bcc")
	if sender := b.addresses(h, "Sender"); len(sender) > 0 {
		v.Sender = &sender[0]
	}
	raw := h.Get("Subject")
	subject, defect := decodeText(raw, b.charset)
	v.Subject = subject
	b.defect(defect)
	b.rawOctets(raw)
	if v.MessageID == "" {
		b.defect(DefectNoMessageID)
	}
	if len(v.From) == 0 || v.From[0].Address == "" {
		b.defect(DefectNoFrom)
	}
	for _, field := range [...]struct{ name, code string }{
		{"From", DefectDuplicateFrom},
		{"Sender", DefectDuplicateSender},
		{"Date", DefectDuplicateDate},
		{"Subject", DefectDuplicateSubject},
		{"Message-ID", DefectDuplicateID},
	} {
		if h.count(field.name) > 1 {
			b.defect(field.code)
		}
	}
}

// rawOctets notes octets that a header field must not hold.
func (b *viewBuilder) rawOctets(value string) {
	if !isASCII(value) {
		b.defect(DefectRaw8Bit)
	}
	if strings.IndexByte(value, 0) >= 0 {
		b.defect(DefectNUL)
	}
}

// addresses reads an address field. To, Cc, Bcc and Reply-To may occur more than once, in mail that was put together by
// hand: the addresses of all count. Of From and Sender the first counts: who wrote a message must not be a choice.
func (b *viewBuilder) addresses(h Header, name string) []Address {
	found := []Address{}
	for i, value := range h.All(name) {
		if i > 0 && (name == "From" || name == "Sender") {
			break
		}
		b.rawOctets(value)
		for _, a := range parseAddresses(value, b.charset) {
			if a.Address == "" {
				b.defect(DefectBadAddress)
			}
			if len(found) == maxAddresses {
				b.defect(DefectAddressLimit)
				return found
			}
			found = append(found, a)
		}
		if len(found) == maxAddresses {
			b.defect(DefectAddressLimit)
		}
	}
	return found
}

// date reads the Date field, else the topmost Received.
func (b *viewBuilder) date(h Header) {
	v := b.v
	v.DateSource = DateNone
	raw := h.Get("Date")
	v.DateRaw = sanitise(raw)
	d, ok := parseDate(raw)
	switch {
	case ok:
		v.DateSource = DateFromDate
	case raw == "":
		b.defect(DefectNoDate)
	default:
		b.defect(DefectBadDate)
	}
	if !ok {
		received := h.Get("Received")
		if i := strings.LastIndexByte(received, ';'); i >= 0 {
			if d, ok = parseDate(received[i+1:]); ok {
				v.DateSource = DateFromReceived
			}
		}
	}
	if !ok {
		return
	}
	if d.unknownZone {
		b.defect(DefectUnknownZone)
	}
	_, offset := d.time.Zone()
	v.Date, v.DateOffset = &d.time, offset/60
}

// attachments hashes the parts that are not shown as body.
func (b *viewBuilder) attachments(parts []*Part) {
	cids := contentIDs(b.v.HTML)
	buf := make([]byte, 32<<10)
	sum := sha256.New()
	b.v.Attachments = make([]Attachment, 0, len(parts))
	for _, p := range parts {
		a := Attachment{
			Path: p.Path, Filename: sanitise(p.Filename), MediaType: sanitise(p.MediaType), ContentID: sanitise(p.ContentID),
			Inline: p.Disposition == "inline" || (p.ContentID != "" && cids[p.ContentID]),
			Offset: p.BodyOffset, Length: p.BodyLength, Encoding: p.Encoding,
		}
		if a.Path == "" {
			a.Path = "1"
		}
		d := newDecoder(b.m.Encoded(p), p.Encoding)
		a.Octets = digest(sum, d, buf, &a.SHA256)
		b.defect(d.defect())
		b.v.Attachments = append(b.v.Attachments, a)
	}
}

// digest hashes all that r gives and returns how much that was.
func digest(sum hash.Hash, r io.Reader, buf []byte, out *Digest) int64 {
	sum.Reset()
	var n int64
	for {
		k, err := r.Read(buf)
		sum.Write(buf[:k])
		n += int64(k)
		if err != nil {
			sum.Sum(out[:0])
			return n
		}
	}
}

// contentIDs returns the Content-IDs that HTML refers to (RFC 2392).
func contentIDs(html string) map[string]bool {
	ids := make(map[string]bool)
	for {
		i := strings.IndexByte(html, ':')
		if i < 0 {
			return ids
		}
		cid := i >= 3 && strings.EqualFold(html[i-3:i], "cid")
		html = html[i+1:]
		if !cid {
			continue
		}
		end := strings.IndexAny(html, "\"'<> \t\r\n)")
		if end < 0 {
			end = len(html)
		}
		ids[string(appendPercent(nil, html[:end]))] = true
		html = html[end:]
	}
}
