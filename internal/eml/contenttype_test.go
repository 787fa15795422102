package eml

import (
	"strings"
	"testing"
)

func TestParseParams(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, head, name string
		ok             bool
	}{
		{`text/plain; name=a.txt`, "text/plain", "a.txt", true},
		{`text/plain ; NAME = "a.txt" ;`, "text/plain", "a.txt", true},
		{`text/plain;; ;name="a.txt";;`, "text/plain", "a.txt", true},
		{`text/plain; name="a \"b\" \\c.txt"`, "text/plain", `a "b" \c.txt`, true},
		{`text/plain; name="C:\dir\a.txt"`, "text/plain", `C:\dir\a.txt`, true},
		{`text/plain; name="a;b.txt"`, "text/plain", "a;b.txt", true},
		{`text/plain (comment); (other) name=a.txt (more)`, "text/plain", "a.txt", true},
		{`text/plain; name=a b.txt`, "text/plain", "a b.txt", false},
		{`text/plain; name=a(1).txt`, "text/plain", "a(1).txt", true},
		{`text/plain; name="a "b" c.txt"`, "text/plain", `a "b" c.txt`, false},
		{`text/plain; name="a.txt`, "text/plain", "a.txt", false},
		{`text/plain; name="a.txt" charset=x`, "text/plain", "a.txt", true},
		{`text/plain; name=a.txt; name=b.txt`, "text/plain", "a.txt", false},
		{`text/plain name=a.txt`, "text/plain", "a.txt", false},
		{`text/plain; junk; name=a.txt`, "text/plain", "a.txt", false},
		{`text/plain; name="=?utf-8?Q?=C3=A4.txt?="`, "text/plain", "ä.txt", true},
		{"text/plain; name=\"\xE4.txt\"", "text/plain", "ä.txt", true},
		{"text/plain; name=\"\xC3\xA4.txt\"", "text/plain", "ä.txt", true},
		{`text/plain; name*=utf-8''%C3%A4.txt`, "text/plain", "ä.txt", true},
		{`text/plain; name*=iso-8859-1'de'%E4.txt`, "text/plain", "ä.txt", true},
		{`text/plain; name*0="a b"; name*1=" c.txt"`, "text/plain", "a b c.txt", true},
		{`text/plain; name*1*=%C3%A4.txt; name*0*=utf-8''x`, "text/plain", "xä.txt", true},
		{`text/plain; name*0*=utf-8''%C3; name*1*=%A4; name*2=".txt"`, "text/plain", "ä.txt", true},
		{`text/plain; name="=?utf-8?Q?wrong?="; name*=utf-8''right.txt`, "text/plain", "right.txt", true},
		{`text/plain; name*=%C3%A4.txt`, "text/plain", "ä.txt", true},
		{`text/plain; name*=utf-8''100%`, "text/plain", "100%", true},
		{``, "", "", true},
		{`;`, "", "", true},
		{`; name=a.txt`, "", "a.txt", true},
	} {
		head, params, ok := parseParams(c.in)
		if head != c.head || params["name"] != c.name || ok != c.ok {
			t.Errorf("%q: got %q, %q, %t, want %q, %q, %t", c.in, head, params["name"], ok, c.head, c.name, c.ok)
		}
	}
}

func TestMediaType(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want, name string
		defect         string
	}{
		{"Text/HTML", "text/html", "", ""},
		{"text / html", "text/html", "", ""},
		{`"text/html"`, "text/html", "", ""},
		{"text/html>", "text/html", "", DefectBadContentType},
		{"text", "text/plain", "", DefectBadContentType},
		{"what is this", "text/plain", "", DefectBadContentType},
		{"; name=a.pdf", "application/octet-stream", "a.pdf", DefectBadContentType},
		{"application/pdf; name=my file.pdf", "application/pdf", "my file.pdf", DefectBadParameter},
		{"message/RFC822; name=\"x\"", "message/rfc822", "x", ""},
	} {
		m := Read([]byte("Content-Type: "+c.in+"\n\nx"), Limits{})
		p := m.Root
		if p.MediaType != c.want || p.Filename != c.name {
			t.Errorf("%q: got %q, %q, want %q, %q", c.in, p.MediaType, p.Filename, c.want, c.name)
		}
		if (c.defect != "") != (len(m.Defects) > 0) || (c.defect != "" && !m.Has(c.defect)) {
			t.Errorf("%q: got defects %q, want %q", c.in, codes(m), c.defect)
		}
	}
}

func TestDisposition(t *testing.T) {
	t.Parallel()
	m := Read([]byte("Content-Type: image/png; name=b.png\nContent-Disposition: ATTACHMENT; filename=a.png\nContent-ID: <i1@x>\n\n"), Limits{})
	p := m.Root
	if p.Disposition != "attachment" || p.Filename != "a.png" || p.ContentID != "i1@x" {
		t.Errorf("got %q, %q, %q, want attachment, a.png, i1@x", p.Disposition, p.Filename, p.ContentID)
	}
	m = Read([]byte("Content-Type: image/png; name=b.png\nContent-Disposition: inline\n\n"), Limits{})
	if p := m.Root; p.Disposition != "inline" || p.Filename != "b.png" {
		t.Errorf("got %q, %q, want inline, b.png", p.Disposition, p.Filename)
	}
}

func TestTransferEncoding(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"7bit": EncodingIdentity, "8bits": EncodingIdentity, "7-bit": EncodingIdentity, "BINARY": EncodingIdentity, "": EncodingIdentity,
		"Base64": EncodingBase64, "base64;": EncodingBase64, "base-64": EncodingBase64, "base64 (really)": EncodingBase64,
		"quoted printable": EncodingQuotedPrintable, "Quoted-Printable": EncodingQuotedPrintable, "\"quoted-printable\"": EncodingQuotedPrintable,
		"x-uuencode": EncodingUuencode, "uuencode": EncodingUuencode,
	} {
		m := Read([]byte("Content-Transfer-Encoding: "+in+"\n\nx"), Limits{})
		if got := m.Root.Encoding; got != want || m.Has(DefectUnknownEncoding) {
			t.Errorf("%q: got %q, defects %q, want %q", in, got, codes(m), want)
		}
	}
	m := Read([]byte("Content-Transfer-Encoding: "+strings.Repeat("x", 100)+"\n\nx"), Limits{})
	if m.Root.Encoding != EncodingIdentity || !m.Has(DefectUnknownEncoding) {
		t.Errorf("unknown: got %q, defects %q", m.Root.Encoding, codes(m))
	}
	m = Read([]byte("Content-Type: multipart/mixed; boundary=B\nContent-Transfer-Encoding: base64\n\n--B\n\nx\n--B--\n"), Limits{})
	if got := shape(m); got != "multipart/mixed(text/plain[x])" {
		t.Errorf("multipart said to be base64: got %q", got)
	}
}
