package forward

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/classify"
	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/receipt"
)

// originals are messages to wrap, each with something that a careless cut would change.
func originals() map[string]string {
	plain := "Return-Path: <kim@client.example>\r\nReceived: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\r\n" +
		"From: Kim <kim@client.example>\r\nTo: alice@corp.example\r\nSubject: An order\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@client.example>\r\n"
	multipart := "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n" +
		"preamble\r\n--inner\r\nContent-Type: text/plain\r\n\r\nHello\r\n--inner\r\nContent-Type: image/png\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--inner--\r\nepilogue\r\n"
	return map[string]string{
		"plain":              plain + "\r\nHello = there\r\n",
		"no line end":        plain + "\r\nHello",
		"several line ends":  plain + "\r\nHello\r\n\r\n\r\n",
		"multipart":          plain + multipart,
		"LF":                 strings.ReplaceAll(plain+multipart, "\r\n", "\n"),
		"mixed line ends":    plain + "\r\none\ntwo\r\nthree\r\n",
		"mbox line":          "From kim@client.example Mon Nov  2 10:00:00 2026\r\n" + plain + "\r\nHello\r\n",
		"8bit":               plain + "Content-Type: text/plain; charset=utf-8\r\n\r\nGrüße\r\n",
		"dashes":             plain + "\r\n-- \r\nKim\r\n--\r\n---- Forwarded\r\n--outer-but-longer\r\n",
		"only a header":      plain + "\r\n",
		"trailing blanks":    plain + "\r\nHello \t\r\n \r\n",
		"long line":          plain + "\r\n" + strings.Repeat("x", 3000) + "\r\n",
		"wrapper":            plain + "Content-Type: multipart/mixed; boundary=w\r\n\r\n--w\r\nContent-Type: message/rfc822\r\n\r\nFrom: x@y.example\r\nSubject: inner\r\n\r\ninner\r\n--w--\r\n",
		"report":             plain + "Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n--r\r\n\r\nfailed\r\n--r\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n--r--\r\n",
		"list mail":          "List-Id: <l.example>\r\nAuto-Submitted: auto-replied\r\n" + plain + "\r\nHello\r\n",
		"header line broken": plain + "a line without colon\r\nX-Last: 1\r\n\r\nHello\r\n",
		"NUL":                plain + "\r\na\x00b\r\n",
	}
}

const outerHeader = "From: Alice <alice@corp.example>\r\nTo: forward@corp.example\r\nSubject: FW: An order\r\n" +
	"Message-ID: <outer@corp.example>\r\nDate: Mon, 2 Nov 2026 10:00:05 +0000\r\nMIME-Version: 1.0\r\n"

// shape is a way to wrap a message.
type shape struct {
	name     string
	path     string
	encoding string
	wrap     func(original string) string
}

// part returns a shape of multipart/mixed with a note and the original under these header fields.
func part(name, encoding string, fields ...string) shape {
	return shape{name: name, path: "2", encoding: encoding, wrap: func(original string) string {
		return mixed("outer", note, strings.Join(fields, "\r\n")+"\r\n\r\n"+encode(encoding, original))
	}}
}

const note = "Content-Type: text/plain\r\n\r\nsee attached\r\n"

// mixed returns a message with these parts.
func mixed(boundary string, parts ...string) string {
	return outerHeader + nest("mixed", boundary, parts...)
}

// nest returns a multipart entity with these parts.
func nest(subtype, boundary string, parts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Content-Type: multipart/%s; boundary=%q\r\n\r\n", subtype, boundary)
	for _, p := range parts {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n", boundary, p)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.String()
}

func encode(encoding, octets string) string {
	var b bytes.Buffer
	switch encoding {
	case "base64":
		text := base64.StdEncoding.EncodeToString([]byte(octets))
		for len(text) > 76 {
			b.WriteString(text[:76] + "\r\n")
			text = text[76:]
		}
		b.WriteString(text)
	case "quoted-printable":
		w := quotedprintable.NewWriter(&b)
		w.Binary = true
		_, err := w.Write([]byte(octets))
		if err := errors.Join(err, w.Close()); err != nil {
			panic(err)
		}
	case "uuencode":
		b.WriteString("begin 644 original.eml\r\n")
		for rest := octets; rest != ""; rest = rest[min(45, len(rest)):] {
			b.WriteString(uuLine(rest[:min(45, len(rest))]) + "\r\n")
		}
		b.WriteString("`\r\nend\r\n")
	default:
		return octets
	}
	return b.String()
}

func uuLine(s string) string {
	char := func(v byte) byte {
		if v == 0 {
			return '`'
		}
		return v + ' '
	}
	out := []byte{char(byte(len(s)))}
	for ; s != ""; s = s[min(3, len(s)):] {
		var v [3]byte
		copy(v[:], s)
		out = append(out, char(v[0]>>2), char(v[0]<<4&63|v[1]>>4), char(v[1]<<2&63|v[2]>>6), char(v[2]&63))
	}
	return string(out)
}

// shapes are those of wrappers in the wild, by what writes them.
func shapes() []shape {
	rfc822 := "Content-Type: message/rfc822\r\n\r\n"
	return []shape{
		part("type alone", "7bit", "Content-Type: message/rfc822"),
		part("dates in the disposition", "7bit", "Content-Type: message/rfc822", "Content-Disposition: attachment;", "\tcreation-date=\"Mon, 02 Nov 2026 10:00:00 GMT\";", "\tmodification-date=\"Mon, 02 Nov 2026 10:00:00 GMT\"", "Content-ID: <1@corp.example>"),
		part("named", "8bit", `Content-Type: message/rfc822; name="An order.eml"`, `Content-Disposition: attachment; filename="An order.eml"; size=889`, "Content-Transfer-Encoding: 8bit"),
		part("named .txt", "7bit", "Content-Type: message/rfc822; name=reply.txt", "Content-Transfer-Encoding: 7bit"),
		part("name without quotes", "7bit", "Content-Type: message/rfc822; name=An order (2).eml", "Content-Disposition: inline"),
		part("encoded name", "7bit", "Content-Type: message/rfc822; name=\"=?utf-8?B?w6QuZW1s?=\"", "Content-Disposition: attachment; filename*=utf-8''%C3%A4.eml"),
		part("inline", "binary", "Content-Type: message/rfc822", "Content-Disposition: inline", "Content-Transfer-Encoding: binary"),
		part("capitals, semicolon", "7bit", "CONTENT-TYPE: MESSAGE/RFC822;", "Content-Transfer-Encoding: 7BIT"),
		part("spam filter", "7bit", "Content-Type: message/rfc822; x-spam-type=original", "Content-Description: original message"),
		part("global", "8bit", "Content-Type: message/global", "Content-Transfer-Encoding: 8bit"),
		part("global in base64", "base64", "Content-Type: message/global; name=m.u8msg", "Content-Transfer-Encoding: base64"),
		part("base64", "base64", "Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "Content-Disposition: attachment"),
		part("quoted-printable", "quoted-printable", "Content-Type: message/rfc822", "Content-Transfer-Encoding: quoted-printable"),
		part("octet-stream", "base64", `Content-Type: application/octet-stream; name="An order.eml"`, "Content-Transfer-Encoding: base64", `Content-Disposition: attachment; filename="An order.eml"`),
		part("octet-stream without a name", "base64", `Content-Type: application/octet-stream`, "Content-Transfer-Encoding: base64"),
		part("octet-stream, not encoded", "binary", "Content-Type: application/octet-stream", "Content-Disposition: attachment; filename=m.EML", "Content-Transfer-Encoding: binary"),
		part("text", "7bit", "Content-Type: text/plain; name=m.eml", "Content-Disposition: attachment; filename=m.eml"),
		part("text in base64", "base64", "Content-Type: text/plain; name=m.eml", "Content-Transfer-Encoding: base64"),
		part("no type", "7bit", "Content-Disposition: attachment; filename=m.eml"),
		part("uuencoded part", "uuencode", "Content-Type: application/octet-stream; name=m.eml", "Content-Transfer-Encoding: x-uuencode"),
		part("uuencoded in text", "uuencode", "Content-Type: text/plain"),
		{"bare", "1", "7bit", func(o string) string { return outerHeader + rfc822 + o }},
		{"bare base64", "1", "base64", func(o string) string {
			return outerHeader + "Content-Transfer-Encoding: base64\r\n" + rfc822 + encode("base64", o) + "\r\n"
		}},
		{"uuencoded without MIME", "1", "uuencode", func(o string) string {
			return "From: alice@corp.example\r\nSubject: FW\r\n\r\nsee below\r\n\r\n" + encode("uuencode", o)
		}},
		{"first part", "1", "7bit", func(o string) string { return mixed("outer", rfc822+o) }},
		{"before a footer", "1.2", "7bit", func(o string) string { return mixed("outer", nest("mixed", "in", note, rfc822+o), note) }},
		{"in related", "2", "7bit", func(o string) string { return outerHeader + nest("related", "outer", note, rfc822+o) }},
		{"in alternative", "2.2", "7bit", func(o string) string {
			return outerHeader + nest("alternative", "outer", note, nest("mixed", "in", note, rfc822+o))
		}},
		{"signed", "1.2", "7bit", func(o string) string {
			return outerHeader + nest("signed", "outer", nest("mixed", "in", note, rfc822+o), "Content-Type: application/pkcs7-signature\r\n\r\nAAAA")
		}},
		{"certified mail", "1.3", "7bit", func(o string) string {
			return outerHeader + nest("signed", "outer", nest("mixed", "in", nest("alternative", "alt", note, note),
				"Content-Type: application/xml; name=daticert.xml\r\n\r\n<x/>", "Content-Type: message/rfc822; name=postacert.eml\r\nContent-Disposition: inline\r\n\r\n"+o),
				"Content-Type: application/pkcs7-signature\r\n\r\nAAAA")
		}},
		{"marked by Exchange", "2", "7bit", func(o string) string {
			return "X-MS-Exchange-Inbox-Rules-Loop: alice@corp.example\r\nauto-submitted: auto-generated\r\n" +
				"x-ms-exchange-generated-message-source: Mailbox Rules Agent\r\nReturn-Path: <>\r\nX-Auto-Response-Suppress: All\r\nIn-Reply-To: <1@client.example>\r\n" +
				mixed("_004_x_", note, rfc822+o)
		}},
		{"text after the end", "2", "7bit", func(o string) string { return mixed("outer", note, rfc822+o) + "\r\n-- \r\nlist footer\r\n" }},
		{"boundary that begins like the original's", "2", "7bit", func(o string) string { return mixed("inne", note, rfc822+o) }},
		{"LF", "2", "7bit", func(o string) string {
			head, tail, _ := strings.Cut(mixed("outer", note, rfc822+"HERE"), "HERE")
			return strings.ReplaceAll(head, "\r\n", "\n") + o + strings.ReplaceAll(tail, "\r\n", "\n")
		}},
		{"inner part not closed", "1.2", "7bit", func(o string) string {
			in := nest("mixed", "in", note, rfc822+o)
			return mixed("outer", strings.TrimSuffix(in, "\r\n--in--\r\n"), note)
		}},
		{"wrong encoding declared", "identity", "identity", func(o string) string {
			return mixed("outer", note, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"+o)
		}},
	}
}

// TestShapes wraps every original in every shape and wants it back, octet for octet.
func TestShapes(t *testing.T) {
	t.Parallel()
	n := 0
	for _, s := range shapes() {
		if s.path == "identity" {
			s.path = "2"
		}
		for name, original := range originals() {
			n++
			m := eml.Read([]byte(s.wrap(original)), eml.DefaultLimits())
			if got := classify.Classify(m); got.Class != classify.Wrapper {
				t.Errorf("%s in shape %s: class %s (%s), want wrapper", name, s.name, got.Class, got.Reason)
				continue
			}
			u := unwrap(t, m)
			if len(u.Originals) != 1 {
				t.Errorf("%s in shape %s: %d originals, defect %q, want one original", name, s.name, len(u.Originals), u.Defect)
				continue
			}
			o := u.Originals[0]
			if got := string(o.Bytes(m)); got != original {
				t.Errorf("%s in shape %s: octets differ\n got %q\nwant %q", name, s.name, got, original)
			}
			if o.Ordinal != 1 || o.Path != s.path || o.Encoding != s.encoding || o.Octets != int64(len(original)) {
				t.Errorf("%s in shape %s: got ordinal %d path %q encoding %q octets %d, want 1 %q %q %d",
					name, s.name, o.Ordinal, o.Path, o.Encoding, o.Octets, s.path, s.encoding, len(original))
			}
			if spans := o.Encoding != "base64" && o.Encoding != "quoted-printable" && o.Encoding != "uuencode"; spans != (o.Raw == nil) {
				t.Errorf("%s in shape %s: encoding %s, has octets of its own: %v", name, s.name, o.Encoding, o.Raw != nil)
			}
		}
	}
	t.Logf("%d wrappers", n)
}

func unwrap(t *testing.T, m *eml.Message) Unwrapped {
	t.Helper()
	u, err := Unwrap(m, "")
	if err != nil {
		t.Fatalf("Unwrap: %v", err)
	}
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return u
}

// TestSeveral wants every original of a wrapper, in its order.
func TestSeveral(t *testing.T) {
	t.Parallel()
	all := originals()
	want := []string{all["plain"], all["multipart"], all["8bit"], all["plain"]}
	m := eml.Read([]byte(mixed("outer", note,
		"Content-Type: message/rfc822\r\n\r\n"+want[0],
		nest("mixed", "in", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encode("base64", want[1]), note),
		"Content-Type: text/plain\r\n\r\n"+encode("uuencode", want[2])+"and\r\n"+encode("uuencode", want[3]))), eml.DefaultLimits())
	u := unwrap(t, m)
	if len(u.Originals) != len(want) {
		t.Fatalf("got %d originals, defect %q, want %d", len(u.Originals), u.Defect, len(want))
	}
	for i, o := range u.Originals {
		if got := string(o.Bytes(m)); got != want[i] || o.Ordinal != i+1 {
			t.Errorf("original %d has ordinal %d and octets %q, want %q", i+1, o.Ordinal, got, want[i])
		}
	}
	if len(u.Trace) != len(want) || u.Trace[3].Item != 4 {
		t.Errorf("trace %v, want a step for each original", u.Trace)
	}
}

// TestNoOriginal wants nothing from parts that only look like a message.
func TestNoOriginal(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"empty part":              mixed("outer", note, "Content-Type: message/rfc822\r\n\r\n"),
		"no header":               mixed("outer", note, "Content-Type: message/rfc822\r\n\r\nthis attachment is not a message"),
		"base64 of something":     mixed("outer", note, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encode("base64", "\x89PNG not a message at all")),
		"text that is no message": mixed("outer", note, "Content-Type: text/plain; name=notes.eml\r\n\r\nFrom: here on\r\nnothing\r\n"),
		"inline forward":          mixed("outer", "Content-Type: text/plain\r\n\r\nFrom: a@b.example\r\nDate: today\r\nSubject: x\r\n\r\ntext"),
		"headers of a message":    mixed("outer", note, "Content-Type: text/rfc822-headers\r\n\r\nFrom: a@b.example\r\nSubject: x\r\n"),
		"partial":                 mixed("outer", note, "Content-Type: message/partial; id=x; number=1\r\n\r\nFrom: a@b.example\r\nSubject: x\r\n\r\ny"),
		"external body":           mixed("outer", note, "Content-Type: message/external-body; access-type=url\r\n\r\nContent-Type: message/rfc822\r\n\r\n"),
		"uuencoded text":          mixed("outer", "Content-Type: text/plain\r\n\r\nbegin 644 x.txt\r\n#86)C\r\n`\r\nend\r\n"),
	}
	for name, octets := range tests {
		m := eml.Read([]byte(octets), eml.DefaultLimits())
		if got := classify.Classify(m); got.Class != classify.Ordinary {
			t.Errorf("%s: class %s (%s), want ordinary", name, got.Class, got.Reason)
		}
		if u := unwrap(t, m); len(u.Originals) != 0 {
			t.Errorf("%s: got an original of %d octets, want none", name, u.Originals[0].Octets)
		}
	}
}

// TestNotCut wants wrappers refused as a whole where an original might be cut short.
func TestNotCut(t *testing.T) {
	t.Parallel()
	all := originals()
	rfc822 := "Content-Type: message/rfc822\r\n\r\n"
	folded := strings.Replace(all["multipart"], "boundary=inner", "boundary*0=in;\r\n boundary*1=ner", 1)
	head, _, _ := strings.Cut(all["wrapper"], "From: x@y")
	deep := head + all["multipart"] + "--w--\r\n"
	whole := mixed("outer", note, rfc822+all["multipart"])
	cutAt := func(mark string) string {
		before, _, _ := strings.Cut(whole, mark)
		return before
	}
	tests := []struct {
		name, octets string
		want         receipt.Reason
	}{
		{"same boundary", mixed("inner", note, rfc822+all["multipart"]), receipt.BoundaryCollision},
		{"same boundary, in pieces", mixed("inner", note, rfc822+folded), receipt.BoundaryCollision},
		{"same boundary, deeper", mixed("inner", note, rfc822+deep), receipt.BoundaryCollision},
		{"boundary of the multipart further out", mixed("inner", nest("mixed", "between", rfc822+all["multipart"]), note), receipt.BoundaryCollision},
		{"original's boundary is the wrapper's end", mixed("inne", note, rfc822+strings.ReplaceAll(all["multipart"], "inner", "inne--")), receipt.BoundaryCollision},
		{"wrapper that names no boundary", strings.Replace(mixed("inner", note, note, rfc822+all["multipart"]), `; boundary="inner"`, "", 1), receipt.BoundaryCollision},
		{"one of two", mixed("inner", rfc822+all["plain"], note, rfc822+all["multipart"]), receipt.BoundaryCollision},
		{"ends in the original's header", cutAt("Message-ID: <1@"), receipt.Truncated},
		{"ends in the original's text", cutAt("llo\r\n--inner"), receipt.Truncated},
		{"ends at a part of the original", cutAt("--inner\r\nContent-Type: image"), receipt.Truncated},
		{"ends in the original's attachment", cutAt("sbG8=\r\n--inner--"), receipt.Truncated},
		{"plain text that ends within a line", strings.TrimSuffix(mixed("outer", note, rfc822+all["no line end"]), "lo\r\n--outer--\r\n"), receipt.Truncated},
		{"base64 that ends", mixed("outer", note, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"+strings.TrimRight(encode("base64", all["plain"]+"xx"), "=")[:301]), receipt.Truncated},
		{"uuencode that ends", mixed("outer", strings.TrimSuffix("Content-Type: text/plain\r\n\r\n"+encode("uuencode", all["plain"]), "`\r\nend\r\n")), receipt.Truncated},
		{"two, the second cut", strings.TrimSuffix(mixed("outer", rfc822+all["plain"], rfc822+all["no line end"]), "lo\r\n--outer--\r\n"), receipt.Truncated},
		{"S/MIME", outerHeader + "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n", receipt.Encrypted},
		{"OpenPGP", outerHeader + nest("encrypted", "outer", "Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n", "Content-Type: application/octet-stream\r\n\r\nx"), receipt.Encrypted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := eml.Read([]byte(tt.octets), eml.DefaultLimits())
			if got := classify.Classify(m); got.Class != classify.Wrapper {
				t.Errorf("class %s (%s), want wrapper", got.Class, got.Reason)
			}
			u := unwrap(t, m)
			if len(u.Originals) != 0 || u.Defect != tt.want {
				t.Errorf("got %d originals and defect %q, want none and %q", len(u.Originals), u.Defect, tt.want)
			}
			if len(u.Trace) != 1 || u.Trace[0].Code != "not_cut" {
				t.Errorf("trace %v, want why it is not cut", u.Trace)
			}
		})
	}
}

// TestWholeInCutWrapper wants an original that is whole although the wrapper around it is not.
func TestWholeInCutWrapper(t *testing.T) {
	t.Parallel()
	for name, original := range map[string]string{
		"closed multipart":      originals()["multipart"],
		"text and a blank line": originals()["plain"],
	} {
		octets := strings.TrimSuffix(mixed("outer", note, "Content-Type: message/rfc822\r\n\r\n"+original), "--outer--\r\n")
		m := eml.Read([]byte(octets), eml.DefaultLimits())
		u := unwrap(t, m)
		if len(u.Originals) != 1 || u.Trace[0].Code != "not_closed" {
			t.Errorf("%s: got %d originals, defect %q, trace %v, want one and a note", name, len(u.Originals), u.Defect, u.Trace)
		}
	}
}

// TestLongOriginal wants a long encoded original whole, and its octets let go by Close.
func TestLongOriginal(t *testing.T) {
	t.Parallel()
	original := originals()["plain"] + strings.Repeat("0123456789abcdef\r\n", 200_000)
	m := eml.Read([]byte(mixed("outer", note, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"+encode("base64", original))), eml.DefaultLimits())
	u, err := Unwrap(m, "")
	if err != nil || len(u.Originals) != 1 {
		t.Fatalf("got %d originals, error %v, want one", len(u.Originals), err)
	}
	if string(u.Originals[0].Bytes(m)) != original {
		t.Error("octets differ")
	}
	for range 2 {
		if err := u.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if u.Originals[0].Raw.Bytes() != nil {
		t.Error("octets are held after Close")
	}
}

// TestManyBoundaries wants a hostile wrapper read in time that grows with its octets alone: an original in as many
// multiparts as are read, full of their boundaries.
func TestManyBoundaries(t *testing.T) {
	t.Parallel()
	var names strings.Builder
	for i := range 39 {
		fmt.Fprintf(&names, "boundary= x b%d y\r\n", i)
	}
	original := originals()["plain"] + strings.Repeat(names.String(), 2000)
	entity := "Content-Type: message/rfc822\r\n\r\n" + original
	for i := range 39 {
		entity = nest("mixed", fmt.Sprintf("b%d", i), entity)
	}
	m := eml.Read([]byte(outerHeader+entity), eml.DefaultLimits())
	u := unwrap(t, m)
	if len(u.Originals) != 1 || string(u.Originals[0].Bytes(m)) != original {
		t.Errorf("got %d originals, defect %q, want the one", len(u.Originals), u.Defect)
	}
}

// FuzzUnwrap wants every original back from its wrapper, byte for byte, or a defect.
func FuzzUnwrap(f *testing.F) {
	for _, original := range originals() {
		f.Add([]byte(original), "outer")
		f.Add([]byte(original), "inner")
	}
	f.Fuzz(func(t *testing.T, original []byte, boundary string) {
		if len(boundary) == 0 || len(boundary) > 70 || strings.Trim(boundary, "abcdefghijklmnopqrstuvwxyz0123456789") != "" ||
			bytes.Contains(original, []byte("--"+boundary)) && !bytes.Contains(original, []byte("boundary")) {
			t.Skip("not a wrapper that a writer makes")
		}
		m := eml.Read([]byte(mixed(boundary, note, "Content-Type: message/rfc822\r\n\r\n"+string(original))), eml.DefaultLimits())
		u, err := Unwrap(m, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range u.Originals {
			if got := o.Bytes(m); !bytes.Equal(got, original) && !bytes.Contains(original, []byte("\n--"+boundary)) {
				t.Errorf("got %q, want %q", got, original)
			}
		}
	})
}

func BenchmarkUnwrap(b *testing.B) {
	original := originals()["plain"] + strings.Repeat("a line of text\r\n", 5000)
	for _, encoding := range []string{"7bit", "base64"} {
		octets := []byte(mixed("outer", note, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: "+encoding+"\r\n\r\n"+encode(encoding, original)))
		b.Run(encoding, func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			for b.Loop() {
				m := eml.Read(octets, eml.DefaultLimits())
				if classify.Classify(m).Class != classify.Wrapper {
					b.Fatal("no wrapper")
				}
				u, err := Unwrap(m, "")
				if err != nil || len(u.Originals) != 1 {
					b.Fatalf("got %d originals, error %v", len(u.Originals), err)
				}
				_ = u.Close()
			}
		})
	}
}
