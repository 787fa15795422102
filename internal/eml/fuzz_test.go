package eml

import (
	"strings"
	"testing"
)

// FuzzRead feeds any octets to the reader. What must hold is what holds for the corpus; and what is read within limits
// of one part and one field must be as sound.
func FuzzRead(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
		f.Add(crlf(seed))
		f.Add([]byte(strings.ReplaceAll(seed, "\n", "\r")))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		checkSound(t, "fuzz", octets)
		m := Read(octets, Limits{Depth: 2, Parts: 3, HeaderOctets: 40, HeaderFields: 2, ViewOctets: 10})
		checkSpans(t, "limits", m)
		if v := m.View(); len(v.Text) > 10 || len(v.HTML) > 10 {
			t.Errorf("got text of %d, HTML of %d octets, want at most 10", len(v.Text), len(v.HTML))
		}
	})
}

// seeds are messages that between them use every branch of the reader.
func seeds() []string {
	text, html := leafOf("text/plain; charset=utf-8", "gr\xC3\xBC\n-- \n"), leafOf("text/html", "<p>a<br>b<li>c")
	return []string{
		"",
		head + "\nbody\n",
		"From ann@a.example Sat Jan  1 00:00:00 2022\n" + head + "\nbody\n",
		"\xEF\xBB\xBF\n" + head + "\nbody\n",
		head + "no colon\nX-A : b\n \n c\n\nbody",
		head + multi("mixed", multi("alternative", text, multi("related", html, leafOf("image/png\nContent-ID: <a@b>", "x"))), leafOf("message/rfc822", head+"\nin")),
		head + multi("digest", "\n"+head+"\nin", "\n"+head+"\nin"),
		head + multi("report", text, leafOf("message/delivery-status", "Status: 5.1.1")),
		head + "Content-Type: multipart/mixed\n\n--x\n\na\n--x\n\nb\n--x--\n",
		head + "Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nx\n--B--\n",
		head + "Content-Type: text/plain; name*0*=utf-8''a%; name*1=\"b\\\"\"; charset=gb2312; x=(y\nContent-Transfer-Encoding: base64\n\nxOO6\nww==\n--\nfooter\n",
		head + "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; format=flowed; delsp=yes\n\n> a=20\n> b=\nc=ZZ \n",
		head + "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 a\n#0V%T\n`\nend\n",
		"Subject: =?utf-8?b?w7w=?= =?utf-8?q?=C3?= =?iso-2022-jp?B?GyRCJDMbKEI=?= =?utf-7?q?+AOQ-?=\nFrom: \"A, B\" <@r:a@b.example>, (c) d@e.example; G: f;\n" +
			"Date: Fri, 21 Nov 97 9:55 PM (c) GMT+0200\nReceived: x; 21-Nov-1997 09:55\nMessage-ID: <a@b>\nReferences: <a@b> <c\n d@e>\n\nx",
	}
}

// FuzzValues feeds any value to the readers of header values.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{
		"", "Ann <a@b.example>", "\"x\" (y) <@r:a@b>", "=?utf-8?q?=C3=A4?= =?utf-8?b?ww==?=", "text/plain; a*0*=b''c; d=\"e\"", "Fri, 21 Nov 1997 09:55:06 -0600",
		"<a@b> <c@d>", "a:b,c;", "+AOQ-",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		text, _ := decodeText(value, "")
		checkText(t, "text", value, text)
		for _, a := range ParseAddresses(value) {
			checkText(t, "address", value, a.Address)
			checkText(t, "name", value, a.Name)
		}
		_, params, _ := parseParams(value)
		for name, param := range params {
			if name != "boundary" {
				checkText(t, "parameter", value, param)
			}
		}
		for _, id := range append(MessageIDs(value), messageID(value)) {
			checkText(t, "message id", value, id)
		}
		if at, ok := ParseDate(value); ok && (at.Year() < 1900 || at.Year() > 9999) {
			t.Errorf("%q: got the year %d", value, at.Year())
		}
		for _, charset := range []string{"utf-8", "utf-7", "gb2312", "iso-2022-jp", "utf-16", "hz-gb-2312", "x"} {
			text, _ := decodeCharset([]byte(value), charset)
			checkText(t, charset, value, sanitise(text))
		}
	})
}
