package classify

import (
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/eml"
)

// message returns a message with these header fields and a body.
func message(body string, fields ...string) string {
	return strings.Join(append(fields, "MIME-Version: 1.0", "Date: Mon, 2 Nov 2026 10:00:00 +0000"), "\r\n") + "\r\n" + body
}

// multipart returns a body with these parts, and its Content-Type.
func multipart(subtype string, parts ...string) string {
	return "Content-Type: multipart/" + subtype + "; boundary=b\r\n\r\n--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
}

// inner gives a multipart body a boundary of its own, to stand in another.
func inner(body string) string {
	return strings.NewReplacer("boundary=b", "boundary=c", "--b", "--c").Replace(body)
}

const (
	text     = "Content-Type: text/plain\r\n\r\nhello\r\n"
	rfc822   = "Content-Type: message/rfc822\r\n\r\nFrom: kim@client.example\r\nSubject: An order\r\n\r\nhello\r\n"
	status   = "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.corp.example\r\n\r\nAction: failed\r\n"
	feedback = "Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"
	receipt  = "Content-Type: message/disposition-notification\r\n\r\nDisposition: manual-action; displayed\r\n"
	alice    = "From: Alice <alice@corp.example>"
	marker   = "X-MS-Exchange-Inbox-Rules-Loop: alice@corp.example"
	noPath   = "Return-Path: <>"
)

// exchange is what Exchange writes into wrappers and out-of-office replies alike.
func exchange(fields ...string) []string {
	return append([]string{
		marker, "auto-submitted: auto-generated", "x-ms-exchange-generated-message-source: Mailbox Rules Agent",
		"x-ms-exchange-parent-message-id: <1@client.example>", "X-Auto-Response-Suppress: DR, RN, NRN, OOF, AutoReply", alice,
	}, fields...)
}

type classTest struct {
	name, octets string
	want         Class
}

func run(t *testing.T, tests []classTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := Classify(eml.Read([]byte(tt.octets), eml.DefaultLimits()))
			if got.Class != tt.want {
				t.Errorf("class %s (%s), want %s", got.Class, got.Reason, tt.want)
			}
			if got.Reason == "" {
				t.Error("no reason")
			}
		})
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	mixed := func(parts ...string) string {
		return message(multipart("mixed", parts...), "From: staff@hotmail.example")
	}
	run(t, []classTest{
		{"DSN", message(multipart("report; report-type=delivery-status", text, status, rfc822), alice), DSN},
		{"DSN for UTF-8", message(multipart("report", text, strings.Replace(status, "delivery", "global-delivery", 1), rfc822), alice), DSN},
		{"DSN without report-type", message(multipart("report", text, status, rfc822), alice), DSN},
		{"DSN with garbage as report-type", message(multipart(`report; report-type="=?x?"`, text, status, rfc822), alice), DSN},
		{"DSN in multipart/mixed", mixed(text, status, rfc822), DSN},
		{"DSN nested", mixed(multipart("report; x=\"", text, status, rfc822)), DSN},
		{"DSN in multipart/mixed with a footer", mixed(inner(multipart("report", text, status, rfc822)), text), DSN},
		{"DSN after a byte order mark", "\xEF\xBB\xBF" + message(multipart("report", text, status, rfc822), alice), DSN},
		{"DSN after a mbox line", "From MAILER-DAEMON Mon Nov  2 10:00:00 2026\r\n" + message(multipart("report", text, status, rfc822), alice), DSN},
		{"DSN without boundary", message("Content-Type: multipart/report; report-type=delivery-status\r\n\r\nit failed\r\n", alice), DSN},
		{"DSN with headers only", message(multipart("report", text, "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n"), alice), DSN},
		{"DSN without its part, with a message", message(multipart("report", text, rfc822), alice), DSN},
		{"DSN that is one status part", message(status, alice), DSN},
		{"report on TLS", message(multipart("report; report-type=tlsrpt", text, "Content-Type: application/tlsrpt+gzip\r\n\r\nx"), alice), DSN},
		{"ARF", message(multipart("report; report-type=feedback-report", text, feedback, rfc822), alice), ARF},
		{"ARF in multipart/mixed", mixed(text, feedback, rfc822), ARF},
		{"ARF without its part", message(multipart("report; report-type=Feedback-Report", text, rfc822), alice), ARF},
		{"ARF with Exchange's marks", message(multipart("report", text, feedback, rfc822), exchange(noPath)...), ARF},
		{"MDN", message(multipart("report; report-type=disposition-notification", text, receipt, rfc822), alice), MDN},
		{"MDN without its part", message(multipart("report; report-type=disposition-notification", text), alice), MDN},
		{"MDN from a mailer-daemon", message(multipart("report", text, receipt), "From: MAILER-DAEMON@corp.example"), MDN},
	})
}

func TestDaemons(t *testing.T) {
	t.Parallel()
	wrapped := multipart("mixed", text, rfc822)
	run(t, []classTest{
		{"mailer-daemon with a message", message(wrapped, "From: MAILER-DAEMON@corp.example (Mail Delivery System)"), DSN},
		{"mailer-daemon without a domain", message(wrapped, "From: MAILER-DAEMON"), DSN},
		{"mailer-daemon with a comment alone", message(wrapped, "From: MAILER-DAEMON (Mail Delivery System)"), DSN},
		{"by name", message(wrapped, `From: "Mail Delivery Subsystem" <noreply@corp.example>`), DSN},
		{"second From field", message(wrapped, alice, "From: mailer-daemon@corp.example"), DSN},
		{"X-Failed-Recipients", message(wrapped, alice, "X-Failed-Recipients: bob@corp.example"), DSN},
		{"postmaster with a message", message(wrapped, "From: postmaster@corp.example"), DSN},
		{"System Administrator with a message", message(wrapped, "From: System Administrator <x@corp.example>"), DSN},
		{"postmaster by name only in part", message(wrapped, "From: Postmaster Pat <pat@corp.example>"), Wrapper},
		{"postmaster's own rule", message(wrapped, "From: postmaster@corp.example", "X-MS-Exchange-Inbox-Rules-Loop: Postmaster@corp.example"), Wrapper},
		{"postmaster with another's rule", message(wrapped, "From: postmaster@corp.example", marker), DSN},
		{"postmaster on a delivery", message(text, "From: postmaster@corp.example", "Subject: Undeliverable: An order"), DSN},
		{"postmaster, null return path", message(text, "From: postmaster@corp.example", noPath), DSN},
		{"postmaster who writes a letter", message(text, "From: postmaster@corp.example", "Subject: New address"), Ordinary},
		{"user whose mail is about a bounce", message(text, alice, "Subject: Undeliverable: An order"), Ordinary},
		{"message, null return path", message(wrapped, alice, noPath), DSN},
		{"message, null return path in another spelling", message(wrapped, alice, "return-path:  < > "), DSN},
		{"message, MAILER-DAEMON as return path", message(wrapped, alice, "Return-Path: <MAILER-DAEMON@mx.corp.example>"), DSN},
		{"null return path below another", message(wrapped, "Return-Path: <alice@corp.example>", alice, noPath), Wrapper},
		{"null return path and Exchange's marks", message(wrapped, exchange(noPath)...), Wrapper},
	})
}

func TestAutoReplies(t *testing.T) {
	t.Parallel()
	wrapped := multipart("mixed", text, rfc822)
	run(t, []classTest{
		{"auto-replied", message(text, alice, "Auto-Submitted: auto-replied"), AutoReply},
		{"auto-replied with a parameter", message(text, alice, "Auto-Submitted: Auto-Replied; owner-email=x"), AutoReply},
		{"Exchange", message(text, alice, marker, "Auto-Submitted: auto-generated", "X-Auto-Response-Suppress: All", "In-Reply-To: <1@client.example>"), AutoReply},
		{"null return path", message(text, alice, noPath, "Auto-Submitted: auto-replied"), AutoReply},
		{"Precedence", message(text, alice, "Precedence: auto_reply"), AutoReply},
		{"X-Autoreply", message(text, alice, "X-Autoreply: yes"), AutoReply},
		{"subject", message(text, alice, "Subject: Automatic reply: An order"), AutoReply},
		{"subject in German", message(text, alice, "Subject: =?utf-8?Q?Abwesenheitsnotiz:_Gr=C3=BC=C3=9Fe?="), AutoReply},
		{"subject that only speaks of it", message(text, alice, "Subject: Re: Out of the box"), Ordinary},
		{"Auto-Submitted: no", message(text, alice, "Auto-Submitted: no"), Ordinary},
		{"generated, but no reply", message(text, alice, "Auto-Submitted: auto-generated"), Ordinary},
		{"with a message it is a wrapper", message(wrapped, alice, "Auto-Submitted: auto-replied", "Subject: Automatic reply: x"), Wrapper},
		{"wrapper with the marks of a reply", message(wrapped, exchange("X-Auto-Response-Suppress: All", "In-Reply-To: <1@client.example>")...), Wrapper},
	})
}

func TestOtherClasses(t *testing.T) {
	t.Parallel()
	wrapped := multipart("mixed", text, rfc822)
	run(t, []classTest{
		{"no octets", "", Unreadable},
		{"rubbish", "\x00\xff\x00", Ordinary},
		{"ordinary", message(text, alice), Ordinary},
		{"journal", message(wrapped, "From: MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example", "X-MS-Journal-Report:"), Journal},
		{"journal by its source", message(wrapped, alice, noPath, "X-MS-Exchange-Generated-Message-Source: Journal Agent"), Journal},
		{"list", message(text, alice, "List-Id: <l.corp.example>"), List},
		{"wrapper that came by a list", message(wrapped, alice, "List-Id: <l.corp.example>"), List},
		{"list with a null return path", message(wrapped, alice, noPath, "List-Id: <l.corp.example>"), List},
		{"digest", message(multipart("digest", "\r\nFrom: a@b.example\r\n\r\nx", "\r\nFrom: c@d.example\r\n\r\ny"), alice), Digest},
		{"digest that a list sends", message(multipart("mixed", text, inner(multipart("digest", "\r\nFrom: a@b.example\r\n\r\nx")), text), alice, "List-Id: <l>"), Digest},
		{"digest without parts", message("Content-Type: multipart/digest\r\n\r\nx", alice), Digest},
		{"wrapper", message(wrapped, alice), Wrapper},
		{"two messages", message(multipart("mixed", rfc822, rfc822), alice), Wrapper},
		{"a report inside", message(multipart("mixed", text, "Content-Type: message/rfc822\r\n\r\n"+inner(message(multipart("report", text, status), "From: MAILER-DAEMON", noPath))), alice), Wrapper},
		{"sealed and forwarded", message("Content-Type: application/pkcs7-mime\r\n\r\nAAAA", alice, "Subject: WG: An order"), Wrapper},
		{"sealed, by a rule", message("Content-Type: application/pkcs7-mime\r\n\r\nAAAA", exchange()...), Wrapper},
		{"sealed", message("Content-Type: application/pkcs7-mime\r\n\r\nAAAA", alice, "Subject: An order"), Ordinary},
		{"forwarded inline", message(text, alice, "Subject: Fwd: An order"), Ordinary},
	})
}

// TestDoubtful wants weak findings marked, so that no mail is ignored because of them.
func TestDoubtful(t *testing.T) {
	t.Parallel()
	wrapped := multipart("mixed", text, rfc822)
	for _, tt := range []struct {
		name, octets string
		want         bool
	}{
		{"null return path alone", message(text, alice, noPath), true},
		{"null return path and a message", message(wrapped, alice, noPath), true},
		{"null return path, and says what it is", message(wrapped, alice, noPath, "Subject: Delivery failure"), false},
		{"null return path, and made by a machine", message(text, alice, noPath, "Auto-Submitted: auto-generated"), false},
		{"mailer-daemon", message(wrapped, "From: mailer-daemon@corp.example", noPath), false},
		{"report", message(multipart("report", text, status), noPath), false},
		{"subject of a reply alone", message(text, alice, "Subject: Out of office: x"), true},
		{"subject of a reply, null return path", message(text, alice, noPath, "Subject: Out of office: x"), false},
		{"auto-replied", message(text, alice, "Auto-Submitted: auto-replied"), false},
	} {
		got := Classify(eml.Read([]byte(tt.octets), eml.DefaultLimits()))
		if (got.Class != DSN && got.Class != AutoReply) || got.Doubtful != tt.want {
			t.Errorf("%s: class %s, doubtful %v, want a report or reply, %v", tt.name, got.Class, got.Doubtful, tt.want)
		}
	}
}

// TestLyingEncoding wants the octets as they stand where a writer declared an encoding that it did not apply.
func TestLyingEncoding(t *testing.T) {
	t.Parallel()
	header := "From: kim@client.example\r\nSubject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
	for _, tt := range []struct{ name, encoding, body, want string }{
		{"base64", "base64", header + "hello", eml.EncodingIdentity},
		{"quoted-printable", "quoted-printable", header + "hello", eml.EncodingIdentity},
		{"quoted-printable, applied", "quoted-printable", strings.ReplaceAll(header, "=", "=3D") + "a =3D b=\r\n", eml.EncodingQuotedPrintable},
		{"quoted-printable, nothing to encode", "quoted-printable", "From: kim@client.example\r\n\r\nx", eml.EncodingQuotedPrintable},
		{"uuencode", "x-uuencode", header + "hello", eml.EncodingIdentity},
	} {
		part := "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: " + tt.encoding + "\r\n\r\n" + tt.body
		found := Originals(eml.Read([]byte(message(multipart("mixed", text, part), alice)), eml.DefaultLimits()))
		if len(found) != 1 || found[0].Encoding != tt.want {
			t.Errorf("%s: found %v, want one with encoding %s", tt.name, found, tt.want)
		}
	}
}

// FuzzClassify wants no panic, a class, and originals that are spans of the message.
func FuzzClassify(f *testing.F) {
	for _, seed := range []string{
		message(multipart("mixed", text, rfc822), alice), message(multipart("report", text, status), alice), message(text, alice, noPath),
		"begin 644 x.eml\r\n#86)C\r\nend\r\n", "Content-Type: message/rfc822\r\n\r\nContent-Type: message/rfc822\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		m := eml.Read(octets, eml.DefaultLimits())
		if got := Classify(m); got.Class == "" || got.Reason == "" {
			t.Errorf("got %+v, want a class and a reason", got)
		}
		for _, o := range Originals(m) {
			if len(o.Encoded(m)) == 0 {
				t.Errorf("original at %+v has no octets", o.Span)
			}
		}
	})
}
