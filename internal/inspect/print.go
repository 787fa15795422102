package inspect

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/eml"
)

// textLines is how many lines of a message's text are printed.
const textLines = 12

// Print writes o for people: what it is and why, then what is inside. Control characters of the sender's are not sent to
// the terminal.
func (o Object) Print(w io.Writer) error {
	p := &printer{w: bufio.NewWriter(w)}
	p.linef("%s: %s (%s), %d octets", o.File, o.Class, o.Reason, o.Octets)
	p.linef("  sha256 %s", o.SHA256)
	if o.Defect != "" {
		p.linef("  must not be cut: %s", o.Defect)
	}
	if o.Outer != nil {
		p.linef("  outer message")
		p.view(o.Outer, false)
	}
	for i, original := range o.Originals {
		p.linef("  original %d: part %s, %s, %d octets, sha256 %s", i+1, original.Path, original.Encoding, original.Octets, original.SHA256)
		p.view(original.Message, true)
	}
	if o.Outer == nil && o.Message != nil {
		p.linef("  message")
		p.view(o.Message, true)
	}
	p.linef("  trace")
	for _, s := range o.Trace {
		p.linef("    %-9s %s", s.Stage, s.Text)
	}
	return p.w.Flush()
}

type printer struct{ w *bufio.Writer }

// linef writes a line. Errors are kept by the writer and come out of Flush.
func (p *printer) linef(format string, args ...any) {
	_, _ = p.w.WriteString(strings.Map(visible, fmt.Sprintf(format, args...)) + "\n")
}

// visible replaces what a terminal would act upon, and what turns the direction of a line around.
func visible(c rune) rune {
	switch {
	case c == '\t':
		return ' '
	case c < ' ', 0x7F <= c && c < 0xA0, 0x202A <= c && c <= 0x202E, 0x2066 <= c && c <= 0x2069:
		return '\uFFFD'
	}
	return c
}

// view writes the fields of a message, and with body the first lines of its text.
func (p *printer) view(v *eml.View, body bool) {
	p.field("From", addresses(v.From))
	if v.Sender != nil {
		p.field("Sender", addresses([]eml.Address{*v.Sender}))
	}
	p.field("Reply-To", addresses(v.ReplyTo))
	p.field("To", addresses(v.To))
	p.field("Cc", addresses(v.Cc))
	p.field("Bcc", addresses(v.Bcc))
	p.field("Subject", v.Subject)
	if v.Date != nil {
		p.field("Date", v.Date.Format(time.RFC1123Z))
	}
	p.field("Message-ID", v.MessageID)
	p.field("In-Reply-To", strings.Join(v.InReplyTo, " "))
	for _, a := range v.Attachments {
		kind := "Attachment"
		if a.Inline {
			kind = "Inline"
		}
		p.field(kind, fmt.Sprintf("%s %q, %s, %d octets", a.Path, a.Filename, a.MediaType, a.Octets))
	}
	p.field("Defects", strings.Join(v.Defects, ", "))
	if body {
		p.text(v.Text)
	}
}

func (p *printer) field(name, value string) {
	if value != "" {
		p.linef("    %-11s %s", name, value)
	}
}

func (p *printer) text(text string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		if i == textLines {
			p.linef("    │ … %d more lines", len(lines)-i)
			return
		}
		if text != "" {
			p.linef("    │ %s", line)
		}
	}
}

func addresses(list []eml.Address) string {
	shown := make([]string, 0, len(list))
	for _, a := range list {
		switch {
		case a.Address == "":
			shown = append(shown, a.Name)
		case a.Name == "":
			shown = append(shown, a.Address)
		default:
			shown = append(shown, a.Name+" <"+a.Address+">")
		}
	}
	return strings.Join(shown, ", ")
}
