package eml

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// viewOf reads a message whose parts are given without the lines between them.
func viewOf(t *testing.T, raw string) *View {
	t.Helper()
	return Read(crlf(raw), Limits{}).View()
}

// multi writes a multipart; the boundary is its type.
func multi(kind string, parts ...string) string {
	b := strings.ToUpper(kind)
	var out strings.Builder
	out.WriteString("Content-Type: multipart/" + kind + "; boundary=" + b + "\n\n")
	for _, part := range parts {
		out.WriteString("--" + b + "\n" + part + "\n")
	}
	out.WriteString("--" + b + "--\n")
	return out.String()
}

// leaf writes a part: its media type with further fields, and its body.
func leafOf(fields, body string) string {
	return "Content-Type: " + fields + "\n\n" + body
}

func TestViewBodies(t *testing.T) {
	t.Parallel()
	text, html := leafOf("text/plain", "text"), leafOf("text/html", "<p>html")
	png := leafOf("image/png; name=a.png\nContent-ID: <i@x>", "PNG")
	pdf := leafOf("application/pdf; name=a.pdf\nContent-Disposition: attachment", "PDF")
	for _, c := range []struct {
		name, in, text, html string
		attachments          []string // path, file name or media type
	}{
		{"text", text, "text", "", nil},
		{"html", html, "html\n", "<p>html", nil},
		{"alternative", multi("alternative", text, html), "text", "<p>html", nil},
		{"alternative, html first", multi("alternative", html, text), "text", "<p>html", nil},
		{"alternative, html alone", multi("alternative", html), "html\n", "<p>html", nil},
		{"alternative, empty text", multi("alternative", leafOf("text/plain", " "), html), "html\n", "<p>html", nil},
		{"alternative of two texts: the last", multi("alternative", text, leafOf("text/plain", "better")), "better", "", []string{"1 text/plain"}},
		{"alternative with a calendar", multi("alternative", text, html, leafOf("text/calendar", "BEGIN")), "text", "<p>html", []string{"3 text/calendar"}},
		{"related", multi("related", html, png), "html\n", "<p>html", []string{"2 a.png"}},
		{
			"related, root not first", strings.Replace(multi("related", png, html+"\n", ""), "related;", "related; start=\"<r@x>\";", 1), "html\n", "<p>html\r\n",
			[]string{"1 a.png"},
		},
		{"related after two boundaries in a row", strings.Replace(multi("related", html, png), "--RELATED\n", "--RELATED\n--RELATED\n", 1), "html\n", "<p>html", []string{"3 a.png"}},
		{"alternative(text, related)", multi("alternative", text, multi("related", html, png)), "text", "<p>html", []string{"2.2 a.png"}},
		{
			"alternative(text, mixed), as Apple Mail", multi("alternative", text, multi("mixed", html, pdf, leafOf("text/html", "<b>end"))), "text", "<p>html<b>end",
			[]string{"2.2 a.pdf"},
		},
		{"mixed(alternative, pdf)", multi("mixed", multi("alternative", text, html), pdf), "text", "<p>html", []string{"2 a.pdf"}},
		{"mixed(text, text): footer", multi("mixed", text, leafOf("text/plain", "footer")), "text\nfooter", "", nil},
		{"mixed(alternative, footer)", multi("mixed", multi("alternative", text, html), leafOf("text/plain", "footer")), "text\nfooter", "<p>html", nil},
		{"mixed(text, html)", multi("mixed", text, html), "text\nhtml\n", "<p>html", nil},
		{"mixed(text, image, text)", multi("mixed", text, png, leafOf("text/plain", "more")), "text\nmore", "", []string{"2 a.png"}},
		{"mixed(text, named text)", multi("mixed", text, leafOf("text/plain; name=b.txt", "file")), "text", "", []string{"2 b.txt"}},
		{"mixed(text, attached text)", multi("mixed", text, leafOf("text/plain\nContent-Disposition: attachment", "file")), "text", "", []string{"2 text/plain"}},
		{"mixed(inline file)", multi("mixed", leafOf("text/plain\nContent-Disposition: inline; filename=b.txt", "file")), "file", "", []string{"1 b.txt"}},
		{"mixed(attached text) alone", multi("mixed", leafOf("text/plain\nContent-Disposition: attachment", "file")), "", "", []string{"1 text/plain"}},
		{"mixed(text, message)", multi("mixed", text, leafOf("message/rfc822", "From: b\n\nin")), "text", "", []string{"2 message/rfc822"}},
		{"a message at the top", leafOf("message/rfc822", "From: b\n\nin"), "", "", []string{"1 message/rfc822"}},
		{"a file at the top", pdf, "", "", []string{"1 a.pdf"}},
		{"signed", multi("signed", text, leafOf("application/pgp-signature", "SIG")), "text", "", []string{"2 application/pgp-signature"}},
		{
			"report", multi("report", text, leafOf("message/delivery-status", "X: y"), leafOf("text/rfc822-headers", "From: b")), "text", "",
			[]string{"2 message/delivery-status", "3 text/rfc822-headers"},
		},
		{"text of another kind", leafOf("text/x-markdown", "# text"), "# text", "", nil},
		{"no parts", multi("mixed"), "--MIXED--\n", "", nil},
	} {
		c.in = strings.Replace(c.in, "Content-Type: text/html\n\n<p>html\n\n", "Content-Type: text/html\nContent-ID: <r@x>\n\n<p>html\n\n", 1)
		v := viewOf(t, head+c.in)
		got := []string{}
		for _, a := range v.Attachments {
			name := a.Filename
			if name == "" {
				name = a.MediaType
			}
			got = append(got, a.Path+" "+name)
		}
		if v.Text != c.text || v.HTML != c.html || !slices.Equal(got, list(c.attachments)) {
			t.Errorf("%s:\n got %q, %q, %q\nwant %q, %q, %q", c.name, v.Text, v.HTML, got, c.text, c.html, c.attachments)
		}
	}
}

func TestViewAttachment(t *testing.T) {
	t.Parallel()
	raw := crlf(head + multi("mixed", leafOf("text/html", `<img src="CID:i%40x">`),
		leafOf("image/png\nContent-ID: <i@x>\nContent-Disposition: attachment; filename=\"=?utf-8?q?=C3=A4.png?=\"\nContent-Transfer-Encoding: base64", "UE5H\nIQ=="),
		leafOf("image/gif\nContent-ID: <other@x>", "GIF"),
		leafOf("image/gif\nContent-Disposition: inline", "GIF")))
	v := Read(raw, Limits{}).View()
	if len(v.Attachments) != 3 {
		t.Fatalf("got %d attachments, want 3", len(v.Attachments))
	}
	a := v.Attachments[0]
	want := Attachment{
		Path: "2", Filename: "ä.png", MediaType: "image/png", ContentID: "i@x", Inline: true, Octets: 4, SHA256: sha256.Sum256([]byte("PNG!")),
		Offset: a.Offset, Length: 10, Encoding: EncodingBase64,
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("attachment (-want +got):\n%s", diff)
	}
	if got := string(raw[a.Offset : a.Offset+a.Length]); got != "UE5H\r\nIQ==" {
		t.Errorf("got span %q", got)
	}
	if v.Attachments[1].Inline || !v.Attachments[2].Inline {
		t.Errorf("got inline %t, %t, want false, true", v.Attachments[1].Inline, v.Attachments[2].Inline)
	}
}

func TestViewFields(t *testing.T) {
	t.Parallel()
	v := viewOf(t, "From: =?utf-8?q?J=C3=B6rg?= <j@x.example>\nSender: s@x.example\nReply-To: r@x.example\nTo: a@x.example\nTo: b@x.example\n"+
		"Cc: Team: c@x.example;\nBcc: d@x.example\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\nMessage-ID: <m@x.example>\nIn-Reply-To: <p@x.example>\n"+
		"References: <o@x.example>\n <p@x.example>\nDate: Fri, 21 Nov 1997 09:55:06 -0600\n\nbody\n")
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"message_id":"m@x.example","in_reply_to":"p@x.example","references":["o@x.example","p@x.example"],` +
		`"from":[{"name":"Jörg","address":"j@x.example"}],"sender":{"name":"","address":"s@x.example"},` +
		`"reply_to":[{"name":"","address":"r@x.example"}],"to":[{"name":"","address":"a@x.example"},{"name":"","address":"b@x.example"}],` +
		`"cc":[{"name":"","address":"c@x.example"}],"bcc":[{"name":"","address":"d@x.example"}],"subject":"grüße",` +
		`"date":"1997-11-21T09:55:06-06:00","text":"body\n","html":"","attachments":[],"defects":[]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if v.DateSource != DateFromDate || v.DateOffset != -360 || v.DateRaw != "Fri, 21 Nov 1997 09:55:06 -0600" {
		t.Errorf("got date from %q, offset %d, raw %q", v.DateSource, v.DateOffset, v.DateRaw)
	}
}

func TestViewEmpty(t *testing.T) {
	t.Parallel()
	got, err := json.Marshal(Read(nil, Limits{}).View())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"message_id":null,"in_reply_to":null,"references":[],"from":[],"sender":null,"reply_to":[],"to":[],"cc":[],"bcc":[],` +
		`"subject":"","date":null,"text":"","html":"","attachments":[],"defects":["empty","no_message_id","no_from","no_date"]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestViewDefects has a case for each defect that only the view can find.
func TestViewDefects(t *testing.T) {
	t.Parallel()
	const whole = "From: a@x.example\nMessage-ID: <m@x>\nDate: Fri, 21 Nov 1997 09:55:06 -0600\n"
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"none", whole + "\nbody", nil},
		{"no Message-ID", "From: a@x\nDate: 21 Nov 1997 09:55 +0100\n\nx", []string{DefectNoMessageID}},
		{"no From", "Message-ID: <a@b>\nDate: 21 Nov 1997 09:55 +0100\n\nx", []string{DefectNoFrom}},
		{"From without address", "From: me\nMessage-ID: <a@b>\nDate: 21 Nov 1997 09:55 +0100\n\nx", []string{DefectBadAddress, DefectNoFrom}},
		{"no Date", "From: a@x\nMessage-ID: <a@b>\n\nx", []string{DefectNoDate}},
		{"bad Date", "From: a@x\nMessage-ID: <a@b>\nDate: soon\n\nx", []string{DefectBadDate}},
		{"unknown zone", "From: a@x\nMessage-ID: <a@b>\nDate: 21 Nov 1997 09:55 QQQT\n\nx", []string{DefectUnknownZone}},
		{"two From", whole + "From: b@x.example\n\nx", []string{DefectDuplicateFrom}},
		{"two Date", whole + "Date: Fri, 21 Nov 1998 09:55:06 -0600\n\nx", []string{DefectDuplicateDate}},
		{"two Subject", whole + "Subject: a\nSubject: b\n\nx", []string{DefectDuplicateSubject}},
		{"two Message-ID", whole + "Message-ID: <n@x>\n\nx", []string{DefectDuplicateID}},
		{"two Sender", whole + "Sender: a@x\nSender: b@x\n\nx", []string{DefectDuplicateSender}},
		{"raw 8-bit Subject", whole + "Subject: gr\xFC\n\nx", []string{DefectRaw8Bit}},
		{"raw 8-bit name", whole + "To: gr\xFC <b@x>\n\nx", []string{DefectRaw8Bit}},
		{"NUL in the header", whole + "Subject: a\x00b\n\nx", []string{DefectNUL}},
		{"NUL in the body", whole + "\na\x00b", []string{DefectNUL}},
		{"bad encoded-word", whole + "Subject: =?utf-8?x?a?=\n\nx", []string{DefectBadEncodedWord}},
		{"bad address", whole + "To: nobody\n\nx", []string{DefectBadAddress}},
		{"too many addresses", whole + "To: " + strings.Repeat("a@b,", maxAddresses+1) + "\n\nx", []string{DefectAddressLimit}},
		{"undeclared 8-bit body", whole + "\ngr\xFC", []string{DefectBadCharset}},
		{"unknown charset", whole + "Content-Type: text/plain; charset=x-klingon\n\nx", []string{DefectUnknownCharset}},
		{"bad base64", whole + "Content-Transfer-Encoding: base64\n\nQUJD!\n", []string{DefectBadBase64}},
		{"bad base64 of a file", whole + "Content-Type: image/png\nContent-Transfer-Encoding: base64\n\nQUJD!\n", []string{DefectBadBase64}},
		{"bad quoted-printable", whole + "Content-Transfer-Encoding: quoted-printable\n\n=ZZ\n", []string{DefectBadQP}},
		{"bad uuencode", whole + "Content-Transfer-Encoding: x-uuencode\n\nnone\n", []string{DefectBadUuencode}},
		{"from reading", whole + "Content-Type: multipart/mixed\n\nx", []string{DefectNoBoundary}},
	} {
		if got := viewOf(t, c.in).Defects; !slices.Equal(got, list(c.want)) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestViewDateFromReceived(t *testing.T) {
	t.Parallel()
	const received = "Received: from a; by b; Fri, 21 Nov 1997 09:55:06 -0600\nReceived: from c; Fri, 21 Nov 1996 09:55:06 -0600\n"
	for _, in := range []string{received + "\nx", received + "Date: soon\n\nx"} {
		v := viewOf(t, in)
		if v.Date == nil || v.Date.Year() != 1997 || v.DateSource != DateFromReceived {
			t.Errorf("%q: got %v from %q, want the topmost Received", in, v.Date, v.DateSource)
		}
	}
	if v := viewOf(t, "Received: from a\n\nx"); v.Date != nil || v.DateSource != DateNone {
		t.Errorf("got %v from %q, want none", v.Date, v.DateSource)
	}
}

func TestViewLimit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 1000)
	in := head + multi("alternative", leafOf("text/plain; charset=utf-8", long), leafOf("text/html; charset=utf-8", "<p>"+long))
	v := Read([]byte(in), Limits{ViewOctets: 101}).View()
	if v.Text != strings.Repeat("ä", 50) || !v.TextTruncated {
		t.Errorf("got text of %d octets, truncated %t", len(v.Text), v.TextTruncated)
	}
	if v.HTML != "<p>"+strings.Repeat("ä", 49) || !v.HTMLTruncated {
		t.Errorf("got HTML of %d octets, truncated %t", len(v.HTML), v.HTMLTruncated)
	}
	if !slices.Equal(v.Defects, []string{DefectNoMessageID, DefectNoDate, DefectTruncatedView}) {
		t.Errorf("got defects %q", v.Defects)
	}
	v = Read([]byte(in), Limits{ViewOctets: int64(2 * len(long))}).View()
	if v.TextTruncated || v.HTMLTruncated || v.Text != long {
		t.Errorf("got truncated %t, %t, text of %d octets", v.TextTruncated, v.HTMLTruncated, len(v.Text))
	}
	grows := Read([]byte("Content-Type: text/plain; charset=koi8-r\n\n"+strings.Repeat("\xC1", 100)), Limits{ViewOctets: 100}).View()
	if len(grows.Text) != 100 || !grows.TextTruncated {
		t.Errorf("text that grows: got %d octets, truncated %t", len(grows.Text), grows.TextTruncated)
	}
}

func TestViewText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want string }{
		{"line ends", "\na\r\nb\n", "a\nb\n"},
		{"windows-1252", "Content-Type: text/plain;; charset=windows-1252\n\ncaf\xE9", "café"},
		{"quoted-printable", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=\n=A9", "café"},
		{"base64 that is none", "Content-Transfer-Encoding: base64\n\nHello, this is text.\n", "Hello, this is text.\n"},
		{"charset of HTML", "Content-Type: text/html\n\n<meta charset=\"windows-1251\"><p>\xCF\xF0", "Пр\n"},
		{"UTF-8 whatever HTML says", "Content-Type: text/html\n\n<meta charset=\"windows-1251\"><p>\xC3\xBC", "ü\n"},
		{"flowed", "Content-Type: text/plain; format=flowed\n\none \ntwo\n", "one two\n"},
	} {
		if got := Read([]byte(c.in), Limits{}).View().Text; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
