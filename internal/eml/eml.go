// Package eml reads an RFC 5322 message leniently: it never refuses one. The worst message is one text part with its
// defects noted.
//
// Invariants: parsing is linear in the octets and bounded by Limits; nothing is copied, every Part is a span of the
// message's octets; a usable result and the defects are given, not either. go-message decodes the leaves.
package eml

// Limits bound what is read. Beyond a limit the rest stays opaque, with a Defect.
type Limits struct {
	Depth        int // nested multiparts
	Parts        int
	HeaderOctets int   // of one header
	HeaderFields int   // of one header
	ViewOctets   int64 // decoded text and HTML each, in a View
}

// DefaultLimits are those of the daemon.
func DefaultLimits() Limits {
	return Limits{Depth: 40, Parts: 2000, HeaderOctets: 1 << 20, HeaderFields: 5000, ViewOctets: 4 << 20}
}

// Defect is something that is wrong with a message, as a code of a closed list, and where.
type Defect struct {
	Code string // "no_close_boundary", "bad_base64", …
	Path string // part number; "" for the message
}

// Field is a header field as it stands.
type Field struct {
	Name  string // as written, without white space before the colon
	Raw   []byte // the whole field with its folding and line end
	Value []byte // what follows the colon, with its folding
}

// Header is the fields of a header in their order.
type Header []Field

// Part is an entity: a multipart, a message/rfc822 (not entered), or a leaf.
type Part struct {
	Path        string // "1.2" in the manner of IMAP; the root is ""
	Header      Header
	MediaType   string            // lower case, "text/plain" by default, "message/rfc822" inside multipart/digest
	Params      map[string]string // of Content-Type, names in lower case, RFC 2231 and 2047 undone
	Disposition string            // lower case; "" if there is none
	Filename    string            // decoded: from Content-Disposition, then from Content-Type
	ContentID   string            // without angle brackets
	Encoding    string            // identity, base64, quoted-printable or uuencode
	Offset      int64             // of its header in Message.Octets
	BodyOffset  int64
	BodyLength  int64   // encoded; without the line end that belongs to the boundary
	Children    []*Part // of a multipart
	Closed      bool    // multipart: its closing boundary was found
}

// Message is a message that was read. Its octets must stay valid while it is used.
type Message struct {
	Octets  []byte
	Root    *Part
	Defects []Defect
}

// Address is a mailbox of an address field (RFC 5322 section 3.4).
type Address struct {
	Name    string `json:"name"`
	Address string `json:"address"` // addr-spec; "" if it cannot be parsed, then Name holds what stands there
}
