package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
)

// How our own mail exchanger is called, in what it writes.
const mx = "mx.example.com"

// shape is a way in which servers and people forward a message as attachment.
type shape string

// The shapes.
const (
	exchange    shape = "exchange"     // message/rfc822 with no other field
	gmail       shape = "gmail"        // named, after text and HTML
	thunderbird shape = "thunderbird"  // 8bit, verbatim
	base64Part  shape = "base64"       // message/rfc822 in base64
	bare        shape = "bare"         // the whole body is message/rfc822
	emlFile     shape = "octet-stream" // a file named .eml
	footer      shape = "footer"       // a list of ours has put text after it
)

// shapes returns them all.
func shapes() []shape {
	return []shape{exchange, gmail, thunderbird, base64Part, bare, emlFile, footer}
}

// authenticated is what our mail exchanger writes above a message that it has authenticated.
func authenticated(from string) string {
	domain := from[strings.LastIndexByte(from, '@')+1:]
	return fmt.Sprintf("Authentication-Results: %s;\r\n\tdkim=pass header.d=%s; dmarc=pass header.from=%s\r\n", mx, domain, domain) +
		"Received: from out.example.com (out.example.com [192.0.2.7])\r\n\tby " + mx + " with ESMTPS; Sat, 3 Jan 2026 10:00:05 +0000\r\n"
}

// wrap puts originals into a wrapper that from sends. Trace is what our mail exchanger has written above it.
func wrap(s shape, trace, from, id string, originals ...[]byte) []byte {
	var b bytes.Buffer
	b.WriteString(trace)
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <forward@example.com>\r\nSubject: FW: something\r\nMessage-ID: <wrapper-%s@out.example.com>\r\n"+
		"Date: Sat, 3 Jan 2026 10:00:04 +0000\r\nMIME-Version: 1.0\r\n", from, id)
	if s == exchange {
		fmt.Fprintf(&b, "X-MS-Exchange-Inbox-Rules-Loop: %s\r\nAuto-Submitted: auto-generated\r\n", from)
	}
	if s == bare {
		b.WriteString("Content-Type: message/rfc822\r\n\r\n")
		b.Write(originals[0])
		return b.Bytes()
	}
	boundary := "_004_wrapper" + id + "example_"
	fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%q\r\n\r\n", boundary)
	note := "Content-Type: text/plain; charset=us-ascii\r\n\r\n\r\n"
	if s == gmail {
		note = "Content-Type: multipart/alternative; boundary=\"alt" + id + "\"\r\n\r\n--alt" + id +
			"\r\nContent-Type: text/plain\r\n\r\n\r\n--alt" + id + "\r\nContent-Type: text/html\r\n\r\n<br>\r\n--alt" + id + "--\r\n"
	}
	fmt.Fprintf(&b, "--%s\r\n%s", boundary, note)
	for i, original := range originals {
		fmt.Fprintf(&b, "\r\n--%s\r\n%s\r\n", boundary, partHeader(s, i))
		b.Write(encoded(s, original))
	}
	if s == footer {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: text/plain\r\n\r\nThis mail was checked.\r\n", boundary)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

func partHeader(s shape, i int) string {
	switch s {
	case gmail:
		return fmt.Sprintf("Content-Type: message/rfc822; name=\"letter %d.eml\"\r\nContent-Disposition: attachment; filename=\"letter %d.eml\"\r\n", i, i)
	case thunderbird:
		return "Content-Type: message/rfc822;\r\n name=\"ForwardedMessage.eml\"\r\nContent-Transfer-Encoding: 8bit\r\n" +
			"Content-Disposition: attachment;\r\n filename=\"ForwardedMessage.eml\"\r\n"
	case base64Part:
		return "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n"
	case emlFile:
		return "Content-Type: application/octet-stream; name=\"x.eml\"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=\"x.eml\"\r\n"
	default:
		return "Content-Type: message/rfc822\r\n"
	}
}

func encoded(s shape, original []byte) []byte {
	if s != base64Part && s != emlFile {
		return original
	}
	text := base64.StdEncoding.EncodeToString(original)
	var b bytes.Buffer
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	b.WriteString(text)
	return b.Bytes()
}

// forgeries are messages by which a stranger tries to make records of Bo's, each with what it tries.
func forgeries(original []byte) map[string][]byte {
	const bo = "bo@example.com"
	received := "Received: from evil.example.net (evil.example.net [198.51.100.9])\r\n\tby " + mx + " with ESMTP; Sat, 3 Jan 2026 10:00:05 +0000\r\n"
	forged := authenticated(bo)
	stranger := "Authentication-Results: " + mx + "; dmarc=pass header.from=example.net\r\n" + received
	return map[string][]byte{
		"no result at all":              wrap(exchange, received, bo, "f1", original),
		"our result below our Received": wrap(exchange, received+forged, bo, "f2", original),
		"another server's result":       wrap(exchange, "Authentication-Results: mx.evil.example.net; dmarc=pass header.from=example.com\r\n"+received, bo, "f3", original),
		"Exchange's stamps copied":      wrap(exchange, received+"X-MS-Exchange-Organization-AuthAs: Internal\r\n", bo, "f4", original),
		"a domain of their own":         wrap(gmail, stranger, "mallory@example.net", "f5", original),
		"a failed check":                wrap(bare, "Authentication-Results: "+mx+"; dmarc=fail header.from=example.com\r\n"+received, bo, "f6", original),
	}
}
