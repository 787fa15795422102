package demo

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"path"
	"strings"

	"github.com/postroom/postroom/internal/receipt"
)

// box is an account that the sample servers hold, by the name of the mailbox record that polls it.
type box string

// The boxes.
const (
	anna    box = "Anna Ask"       // a user's mailbox, on IMAP
	support box = "Support"        // a queue, on POP3
	forward box = "Forwarded mail" // the forward mailbox, on IMAP
)

// sample is one message that the servers hold when the demo begins, in the order in which it came, and what is to become
// of it.
type sample struct {
	file  string // of mail/
	box   box
	about string // what it shows

	outcome     receipt.Outcome
	reason      receipt.Reason // "": any
	copies      string         // not "": one of all samples of this name is recorded, whichever comes first; the others are duplicates
	originals   int            // that are met in a mailbox; of a recorded or duplicate one, zero means one
	sightings   int            // of its e-mail, if not one
	attachments int            // of its activity
	answers     string         // file of the sample whose activity is the parent of this one's
}

// samples is the mail of the demo.
//
//nolint:gochecknoglobals // a table that nothing changes
var samples = []sample{
	{file: "anna/enquiry.eml", box: anna, about: "plain text", outcome: receipt.Recorded},
	{file: "anna/visit.eml", box: anna, about: "text and HTML", outcome: receipt.Recorded},
	{file: "anna/drawings.eml", box: anna, about: "two attachments", outcome: receipt.Recorded, attachments: 2},
	{file: "anna/follow-up.eml", box: anna, about: "answers the enquiry", outcome: receipt.Recorded, answers: "anna/enquiry.eml"},
	{file: "anna/umlauts.eml", box: anna, about: "ISO 8859-1, encoded", outcome: receipt.Recorded},
	{file: "anna/yokohama.eml", box: anna, about: "ISO-2022-JP and UTF-8", outcome: receipt.Recorded},
	{file: "anna/bulletin.eml", box: anna, about: "a mailing list", outcome: receipt.Recorded},
	{file: "anna/bounce.eml", box: anna, about: "a delivery status notification", outcome: receipt.Recorded, attachments: 2},
	{file: "anna/out-of-office.eml", box: anna, about: "an automatic reply", outcome: receipt.Recorded, answers: "anna/visit.eml"},
	{file: "anna/no-boundary.eml", box: anna, about: "broken: parts without a boundary", outcome: receipt.Recorded},
	{file: "anna/minutes.eml", box: anna, about: "to two people, direct to the first", copies: "minutes", sightings: 2},
	{file: "anna/no-ids.eml", box: anna, about: "without Message-ID and Date", outcome: receipt.Recorded},
	{file: "anna/raw-latin1.eml", box: anna, about: "broken: unencoded 8-bit header", outcome: receipt.Recorded},
	{file: "anna/by-hand.eml", box: anna, about: "a message attached by hand stays one", outcome: receipt.Recorded, attachments: 1},
	{file: "anna/visit.eml", box: anna, about: "the same message once more", outcome: receipt.Duplicate},

	{file: "support/dark-display.eml", box: support, about: "plain text", outcome: receipt.Recorded},
	{file: "support/dark-display-again.eml", box: support, about: "answers by In-Reply-To", outcome: receipt.Recorded, answers: "support/dark-display.eml"},
	{file: "support/readings.eml", box: support, about: "a table attached", outcome: receipt.Recorded, attachments: 1},
	{file: "support/web-form.eml", box: support, about: "HTML only", outcome: receipt.Recorded},
	{file: "support/picture.eml", box: support, about: "a picture within HTML", outcome: receipt.Recorded, attachments: 1},
	{file: "support/etalonnage.eml", box: support, about: "an encoded subject in two words", outcome: receipt.Recorded},
	{file: "support/dots.eml", box: support, about: "lines of dots, which POP3 doubles", outcome: receipt.Recorded},
	{file: "support/no-separator.eml", box: support, about: "broken: no empty line after the header", outcome: receipt.Recorded},
	{file: "support/read-receipt.eml", box: support, about: "a disposition notification", outcome: receipt.Recorded, attachments: 1},
	{file: "support/by-references.eml", box: support, about: "answers by References", outcome: receipt.Recorded, answers: "support/readings.eml"},
	{file: "support/test-report.eml", box: support, about: "an attachment with an umlaut in its name", outcome: receipt.Recorded, attachments: 1},
	{file: "support/readings.eml", box: support, about: "delivered twice", outcome: receipt.Duplicate},
	{file: "support/another-text.eml", box: support, about: "a Message-ID used twice: not merged", outcome: receipt.Recorded},

	{file: "forward/exchange.eml", box: forward, about: "wrapped by an Exchange rule", outcome: receipt.Recorded},
	{file: "forward/gmail.eml", box: forward, about: "wrapped as Gmail does", outcome: receipt.Recorded, attachments: 1},
	{file: "forward/thunderbird.eml", box: forward, about: "wrapped as Thunderbird does, 8bit", outcome: receipt.Recorded},
	{file: "forward/base64.eml", box: forward, about: "the original in base64", outcome: receipt.Recorded},
	{file: "forward/bare.eml", box: forward, about: "the original alone, no parts", outcome: receipt.Recorded},
	{file: "forward/octet-stream.eml", box: forward, about: "the original as a file .eml", outcome: receipt.Recorded},
	{file: "forward/two-originals.eml", box: forward, about: "two originals in one wrapper", outcome: receipt.Recorded, originals: 2},
	{file: "forward/minutes.eml", box: forward, about: "to two people, forwarded by the second", copies: "minutes", sightings: 2},
	{file: "forward/price-list-bo.eml", box: forward, about: "to two people, forwarded by the first", outcome: receipt.Recorded, sightings: 2},
	{file: "forward/price-list-cleo.eml", box: forward, about: "and by the second: one record", outcome: receipt.Duplicate, sightings: 2},
	{file: "forward/reply.eml", box: forward, about: "answers the order above", outcome: receipt.Recorded, answers: "forward/exchange.eml"},
	{file: forgery, box: forward, about: "a stranger's forgery with every mark copied", outcome: receipt.Quarantined, reason: receipt.Untrusted},
	{file: "forward/unknown.eml", box: forward, about: "of a colleague without a mailbox here", outcome: receipt.Quarantined, reason: receipt.UnknownRecipient},
	{file: "forward/bounce.eml", box: forward, about: "a report is about mail, not a user's mail", outcome: receipt.Ignored, reason: receipt.Report},
	{file: "forward/out-of-office.eml", box: forward, about: "an automatic reply to us", outcome: receipt.Ignored, reason: receipt.AutoReply},
	{file: "forward/not-accepted.eml", box: forward, about: "its recipient accepts nothing", outcome: receipt.Ignored, reason: receipt.NotAccepted},
	{file: "forward/collision.eml", box: forward, about: "wrapper and original share a boundary", outcome: receipt.Quarantined, reason: receipt.BoundaryCollision},
	{file: "forward/truncated.eml", box: forward, about: "cut on its way", outcome: receipt.Quarantined, reason: receipt.Truncated},
	{file: "forward/redirected.eml", box: forward, about: "redirected, not forwarded as attachment", outcome: receipt.Quarantined},
}

// forgery is the sample that explain is shown with.
const forgery = "forward/forgery.eml"

//go:embed mail
var mail embed.FS

// octets returns a sample as a server sends it: lines end with CRLF. In the files a line "@@include NAME" stands for
// another file, and "@@base64 NAME" for that in base64.
func octets(file string) ([]byte, error) {
	text, err := mail.ReadFile(path.Join("mail", file))
	if err != nil {
		return nil, fmt.Errorf("read the sample mail: %w", err)
	}
	if !strings.HasSuffix(file, ".eml") {
		return text, nil // attached as it is
	}
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		verb, name, _ := strings.Cut(string(line), " ")
		switch verb {
		case "@@include":
			inner, err := octets(name)
			if err != nil {
				return nil, err
			}
			out.Write(inner)
		case "@@base64":
			inner, err := octets(name)
			if err != nil {
				return nil, err
			}
			writeBase64(&out, inner)
		default:
			out.Write(line)
			out.WriteString("\r\n")
		}
	}
	return out.Bytes(), nil
}

// writeBase64 writes lines of 76 characters (RFC 2045 section 6.8).
func writeBase64(out *bytes.Buffer, octets []byte) {
	encoded := base64.StdEncoding.EncodeToString(octets)
	for len(encoded) > 0 {
		n := min(76, len(encoded))
		out.WriteString(encoded[:n] + "\r\n")
		encoded = encoded[n:]
	}
}
