package forward

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// Original is a message that was taken out of a wrapper.
type Original struct {
	Ordinal  int    // from 1
	Path     string // of its part in the manner of IMAP: "1" for the body of a wrapper that has no parts
	Encoding string // as declared: 7bit, 8bit, binary, base64, quoted-printable, uuencode; identity if what is declared is not true
	Offset   int64  // of its octets: in the wrapper's octets if Raw is nil, else 0
	Octets   int64
	Raw      *source.Raw // octets of its own, where a transfer encoding was undone; nil otherwise
}

// Bytes returns the original's octets, a span of the wrapper's or its own.
func (o Original) Bytes(wrapper *eml.Message) []byte {
	if o.Raw != nil {
		return o.Raw.Bytes()
	}
	return wrapper.Octets[o.Offset : o.Offset+o.Octets]
}

// Unwrapped is what came out of a wrapper.
type Unwrapped struct {
	Originals []Original
	Defect    receipt.Reason // why it must not be cut, then there are no Originals: too_many_parts, boundary_collision, truncated or encrypted
	Trace     trace.Trace
}

// Close lets go of the octets that originals have of their own. It may be called more than once.
func (u *Unwrapped) Close() error {
	var errs []error
	for _, o := range u.Originals {
		if o.Raw != nil {
			errs = append(errs, o.Raw.Close())
		}
	}
	return errors.Join(errs...)
}

// Unwrap takes the originals out of m, exactly one level. Whether m is a wrapper is for classify to say. If one original
// might be cut short, none is taken.
//
// A long original whose transfer encoding is undone is spooled in spoolDir ("": the system's). The error is about that,
// never about the message: try again.
func Unwrap(m *eml.Message, spoolDir string) (Unwrapped, error) {
	var u Unwrapped
	found := classify.Originals(m)
	if len(found) == 0 && classify.Sealed(m) {
		u.refuse("", receipt.Encrypted)
		return u, nil
	}
	if m.Has(eml.DefectPartsLimit) || m.Has(eml.DefectDepthLimit) {
		u.refuse("", receipt.TooManyParts)
		return u, nil
	}
	for _, c := range found {
		if collides(m, c) {
			u.refuse(c.Part.Path, receipt.BoundaryCollision)
			return u, nil
		}
	}
	for i, c := range found {
		o, whole, err := take(m, c, i+1, spoolDir)
		if err != nil {
			return Unwrapped{}, errors.Join(err, u.Close())
		}
		u.Originals = append(u.Originals, o)
		if !whole {
			err := u.Close()
			u.Originals = nil
			u.refuse(c.Part.Path, receipt.Truncated)
			return u, err
		}
		if endsWithFile(c) {
			u.Trace.AddItem(o.Ordinal, trace.Unwrap, "not_closed")
		}
		u.Trace.AddItem(o.Ordinal, trace.Unwrap, "original", "path", o.Path, "encoding", o.Encoding, "octets", strconv.FormatInt(o.Octets, 10))
	}
	return u, nil
}

func (u *Unwrapped) refuse(path string, why receipt.Reason) {
	u.Defect = why
	u.Trace = nil
	u.Trace.Add(trace.Unwrap, "not_cut", "path", path, "reason", string(why))
}

// take cuts one original out and reports whether all of it is there.
func take(m *eml.Message, c classify.Original, ordinal int, spoolDir string) (o Original, whole bool, err error) {
	o = Original{Ordinal: ordinal, Path: cmp.Or(c.Part.Path, "1"), Encoding: declared(c), Offset: c.Span.Offset, Octets: c.Span.Length}
	whole = true
	if c.Encoding != eml.EncodingIdentity {
		if o.Raw, err = decode(c.Encoded(m), c.Encoding, spoolDir); err != nil {
			return Original{}, false, err
		}
		o.Offset, o.Octets = 0, o.Raw.Octets()
	}
	switch {
	case !complete(c.Encoded(m), c.Encoding):
		whole = closed(o.Bytes(m))
	case endsWithFile(c):
		whole = closed(o.Bytes(m)) || isLeaf(o.Bytes(m)) && endsBlank(m.Octets)
	}
	return o, whole, nil
}

// declared returns the transfer encoding as the part names it, where that is what was found.
func declared(c classify.Original) string {
	name := strings.ToLower(strings.TrimSpace(c.Part.Header.Get("Content-Transfer-Encoding")))
	switch {
	case c.Encoding != eml.EncodingIdentity:
		return c.Encoding
	case name == "":
		return "7bit" // RFC 2045 section 6.1
	case name == "7bit", name == "8bit", name == "binary":
		return name
	}
	return eml.EncodingIdentity
}

// decode undoes a transfer encoding: in memory for a short original, in a spooled file for a long one.
func decode(encoded []byte, encoding, spoolDir string) (*source.Raw, error) {
	spool := source.NewSpool(spoolDir, int64(len(encoded))+1)
	defer spool.Abort()
	if _, err := io.Copy(spool, eml.DecodeSpan(encoded, encoding)); err != nil {
		return nil, spoolFault(err)
	}
	raw, err := spool.Finish()
	if err != nil {
		return nil, spoolFault(err)
	}
	return raw, nil
}

func spoolFault(err error) error {
	return fault.New(fault.Transient, "spool", "Make room in the directory for temporary files.", fmt.Errorf("decode an original: %w", err))
}

// complete reports whether encoded octets come to the end that their encoding has: base64 to a full group, uuencode to
// its last line. Others have none.
func complete(encoded []byte, encoding string) bool {
	switch encoding {
	case eml.EncodingBase64:
		digits := 0
		for _, c := range encoded {
			switch {
			case c == '=':
				return digits%4 >= 2
			case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '+', c == '/':
				digits++
			}
		}
		return digits%4 == 0
	case eml.EncodingUuencode:
		return uuEnd.Match(encoded)
	}
	return true
}

// uuEnd matches the last line of what is uuencoded.
var uuEnd = regexp.MustCompile(`(?m)^end[ \t]*\r?$`)

// endsWithFile reports whether the part has no boundary after it: the wrapper stops inside.
func endsWithFile(c classify.Original) bool {
	if len(c.Within) == 0 {
		return false // a bare message/rfc822 has no boundary: its end is the end
	}
	child := c.Part
	for _, parent := range slices.Backward(c.Within) {
		if parent.Closed || parent.Children[len(parent.Children)-1] != child {
			return false
		}
		child = parent
	}
	return true
}

// closed reports whether octets are a multipart message with its closing boundary, so that it is whole although what
// stands around it is not.
func closed(octets []byte) bool {
	root := eml.Read(octets, eml.DefaultLimits()).Root
	return len(root.Children) > 0 && root.Closed
}

// collides reports whether the original uses a boundary of a multipart around it: its own first boundary line was then
// taken for the wrapper's, and where it ends is not certain.
func collides(m *eml.Message, c classify.Original) bool {
	if c.Encoding != eml.EncodingIdentity || len(c.Within) == 0 {
		return false // an encoded line cannot be a boundary
	}
	octets := c.Encoded(m)
	around := make(map[string]bool, len(c.Within))
	for _, p := range c.Within {
		boundary := boundaryOf(m, p)
		if boundary == "" {
			continue
		}
		if declares(octets, boundary) {
			return true
		}
		around[boundary], around[boundary+"--"] = true, true
	}
	for p := range eml.Read(octets, eml.DefaultLimits()).Walk() { // also folded into pieces or encoded (RFC 2231)
		if around[strings.TrimRight(p.Params["boundary"], " \t")] {
			return true
		}
	}
	return false
}

// isLeaf reports whether octets are a message without parts.
func isLeaf(octets []byte) bool {
	return !strings.HasPrefix(strings.ToLower(eml.Read(octets, eml.DefaultLimits()).Root.Header.Get("Content-Type")), "multipart/")
}

// endsBlank reports whether octets end with a blank line, as they do where a writer left out nothing but the closing
// boundary. What was cut for its size ends within a line.
func endsBlank(octets []byte) bool {
	return bytes.HasSuffix(octets, []byte("\n\n")) || bytes.HasSuffix(octets, []byte("\n\r\n"))
}

// boundaryOf returns the boundary at which a multipart was cut: what stands in the line before its first part, which is
// not always what its header says.
func boundaryOf(m *eml.Message, p *eml.Part) string {
	before := bytes.TrimRight(m.Octets[:p.Children[0].Offset], "\r\n")
	line := before[bytes.LastIndexAny(before, "\r\n")+1:]
	return strings.TrimRight(strings.TrimPrefix(string(line), "--"), " \t")
}

// declares reports whether the parameter boundary has this value, or this value and "--", anywhere in octets: at any
// depth, also in messages inside.
func declares(octets []byte, boundary string) bool {
	const near = 64 // octets that are looked at before and after
	for pos := 0; ; pos += len(boundary) {
		i := bytes.Index(octets[pos:], []byte(boundary))
		if i < 0 {
			return false
		}
		pos += i
		before := bytes.TrimRight(octets[max(0, pos-near):pos], "\"' \t\r\n")
		name, found := bytes.CutSuffix(before, []byte("="))
		name = bytes.TrimRight(name, " \t\r\n")
		if !found || len(name) < len("boundary") || !bytes.EqualFold(name[len(name)-len("boundary"):], []byte("boundary")) {
			continue
		}
		after := octets[pos+len(boundary):]
		after = bytes.TrimLeft(bytes.TrimPrefix(after[:min(near, len(after))], []byte("--")), " \t")
		if len(after) == 0 || bytes.IndexByte([]byte("\"';(\r\n"), after[0]) >= 0 {
			return true
		}
	}
}
