// Package eml reads an RFC 5322 message leniently: it never refuses one. The worst message is one text part with its
// defects noted.
//
// Invariants: reading is linear in the octets and bounded by Limits; nothing is copied, every Part is a span of the
// message's octets; a usable result and the defects are given, not either. What is decoded streams, so a message may
// be a memory-mapped file. Charsets are those of go-message; its header and multipart readers refuse too much, so the
// structure, the transfer encodings and the header values are read here.
//
// The package has no I/O, no clock and no state. It must not decide what a message is (package classify) nor look into
// message/* parts (package forward does, one level).
package eml

import (
	"io"
	"iter"
)

// Limits bound what is read. Beyond a limit the rest stays opaque, with a Defect. A zero field means its default.
type Limits struct {
	Depth        int   // nested multiparts
	Parts        int   // of the whole message, multiparts counted
	HeaderOctets int   // of the fields that are kept of one header
	HeaderFields int   // that are kept of one header
	ViewOctets   int64 // decoded text and HTML each, in a View
}

// DefaultLimits are those of the daemon.
func DefaultLimits() Limits {
	return Limits{Depth: 40, Parts: 2000, HeaderOctets: 1 << 20, HeaderFields: 5000, ViewOctets: 4 << 20}
}

// orDefault returns lim with the default for each field that is not positive.
func (lim Limits) orDefault() Limits {
	def := DefaultLimits()
	if lim.Depth <= 0 {
		lim.Depth = def.Depth
	}
	if lim.Parts <= 0 {
		lim.Parts = def.Parts
	}
	if lim.HeaderOctets <= 0 {
		lim.HeaderOctets = def.HeaderOctets
	}
	if lim.HeaderFields <= 0 {
		lim.HeaderFields = def.HeaderFields
	}
	if lim.ViewOctets <= 0 {
		lim.ViewOctets = def.ViewOctets
	}
	return lim
}

// Field is a header field as it stands.
type Field struct {
	Name  string // as written, without white space before the colon; "" for a line that is no field
	Raw   []byte // the whole field with its folding and line end, at most Limits.HeaderOctets of it
	Value []byte // what follows the colon, with its folding and without the last line end
}

// Header is the fields of a header in their order.
type Header []Field

// The values of Part.Encoding.
const (
	EncodingIdentity        = "identity"
	EncodingBase64          = "base64"
	EncodingQuotedPrintable = "quoted-printable"
	EncodingUuencode        = "uuencode"
)

// Span is a range of Message.Octets.
type Span struct {
	Offset int64
	Length int64
}

// Part is an entity: a multipart, a message/* (not entered), or a leaf.
type Part struct {
	Path        string // "1.2" in the manner of IMAP; the root is ""
	Header      Header
	MediaType   string            // lower case, "text/plain" by default, "message/rfc822" inside multipart/digest
	Params      map[string]string // of Content-Type, names in lower case, RFC 2231 and 2047 undone; may be nil
	Disposition string            // lower case; "" if there is none
	Filename    string            // decoded: from Content-Disposition, then from Content-Type
	ContentID   string            // without angle brackets
	Encoding    string            // identity, base64, quoted-printable or uuencode
	Offset      int64             // of its header in Message.Octets
	BodyOffset  int64
	BodyLength  int64   // encoded; without the line end that belongs to the boundary
	Children    []*Part // of a multipart
	Closed      bool    // multipart: its closing boundary was found
	Preamble    Span    // multipart: what stands before its first boundary
	Epilogue    Span    // multipart: what stands after its closing boundary
}

// IsMultipart reports whether p was read as a multipart, that is, has children.
func (p *Part) IsMultipart() bool { return len(p.Children) > 0 }

// Message is a message that was read. Its octets must stay valid and unchanged while it is used. It may be used by
// several goroutines at once.
type Message struct {
	Octets  []byte
	Root    *Part // never nil
	Defects []Defect

	lim Limits
}

// Walk yields every part, depth first, parents before their children.
func (m *Message) Walk() iter.Seq[*Part] {
	return func(yield func(*Part) bool) { walk(m.Root, yield) }
}

// walk recurses no deeper than Limits.Depth.
func walk(p *Part, yield func(*Part) bool) bool {
	if p == nil {
		return true
	}
	if !yield(p) {
		return false
	}
	for _, child := range p.Children {
		if !walk(child, yield) {
			return false
		}
	}
	return true
}

// Encoded returns the body of p as it stands: a span of m.Octets, not a copy. It is never to be written to.
func (m *Message) Encoded(p *Part) []byte {
	return m.octets(Span{Offset: p.BodyOffset, Length: p.BodyLength})
}

// Decode returns the body of p with its transfer encoding undone, as a stream. It never fails: see DecodeSpan.
func (m *Message) Decode(p *Part) io.Reader {
	return DecodeSpan(m.Encoded(p), p.Encoding)
}

// octets returns the span s, with no room to append.
func (m *Message) octets(s Span) []byte {
	return m.Octets[s.Offset : s.Offset+s.Length : s.Offset+s.Length]
}
