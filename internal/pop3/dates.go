package pop3

import (
	"bytes"
	"context"
	"errors"
	"net/mail"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

// dateOctets is how much of a header is searched for its date: the topmost Received stands at its beginning.
const dateOctets = 64 << 10

// errNoTop stops a run of TOP at a server that has none.
var errNoTop = errors.New("no TOP")

// dates fills InternalDate of refs from their headers, by TOP (RFC 1939 §7). It stays zero where the server has no TOP,
// refuses it for a message, or the header holds no date that can be read.
func (s *Session) dates(ctx context.Context, refs []source.Ref) error {
	if s.caps != nil && !s.can("TOP") {
		return nil
	}
	var answer reply
	var head bytes.Buffer
	worked := false
	err := s.run(ctx, pipe{
		count:   len(refs),
		command: func(b []byte, i int) []byte { return append(numbered(b, "TOP", refs[i].Number), " 0"...) },
		octets: func(i int) (expected, bound int64) {
			return dateOctets, dateOctets + stuffed(topOctets(refs[i])) + simpleOctets
		},
		read: func(i int) (err error) {
			if answer, err = s.wire.status(); err != nil || !answer.ok {
				return err
			}
			head.Reset()
			_, err = s.wire.body(&head, dateOctets, topOctets(refs[i]))
			refs[i].InternalDate = arrival(head.Bytes())
			return err
		},
		then: func(int) error {
			switch {
			case answer.ok:
				worked = true
			case answer.temporary():
				s.drop()
				return answer.fault("TOP", fault.Transient, "", "")
			case !worked && s.caps == nil: // nothing is pipelined then
				return errNoTop
			}
			return nil
		},
	})
	if errors.Is(err, errNoTop) {
		return nil
	}
	return err
}

// topOctets bounds what TOP n 0 may bring beyond dateOctets. QUIRK: some servers send the whole message.
func topOctets(ref source.Ref) int64 { return headerOctets + 2*ref.Octets + sizeSlack }

// arrival returns the date of the topmost Received field of a header, else that of Date; zero if neither can be read.
func arrival(header []byte) time.Time {
	received, seen := field(header, "Received")
	if seen {
		if i := strings.LastIndexByte(received, ';'); i >= 0 {
			if t := instant(received[i+1:]); !t.IsZero() {
				return t
			}
		}
	}
	date, _ := field(header, "Date")
	return instant(date)
}

// field returns the unfolded value of the first field of that name.
func field(header []byte, name string) (value string, ok bool) {
	var b strings.Builder
	for line := range bytes.Lines(header) {
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case ok && strings.HasPrefix(text, " "), ok && strings.HasPrefix(text, "\t"):
			b.WriteString(" " + strings.TrimSpace(text))
		case ok || text == "":
			return b.String(), ok
		case len(text) > len(name) && strings.EqualFold(text[:len(name)], name) &&
			strings.HasPrefix(strings.TrimLeft(text[len(name):], " \t"), ":"):
			_, rest, _ := strings.Cut(text, ":")
			b.WriteString(strings.TrimSpace(rest))
			ok = true
		}
	}
	return b.String(), ok
}

// instant reads a date-time of RFC 5322 §3.3, or what old software writes instead; zero if it cannot.
func instant(text string) time.Time {
	text = strings.TrimSpace(text)
	if t, err := mail.ParseDate(text); err == nil {
		return sane(t)
	}
	if i := strings.IndexByte(text, '('); i > 0 { // a comment that does not end
		text = strings.TrimSpace(text[:i])
	}
	text = strings.Join(strings.Fields(text), " ")
	for _, layout := range []string{
		"Mon, 2 Jan 2006 15:04:05 -0700", "2 Jan 2006 15:04:05 -0700", "Mon, 2 Jan 2006 15:04:05", "2 Jan 2006 15:04:05",
		"Mon, 2 Jan 06 15:04:05 -0700", "Mon Jan 2 15:04:05 2006", time.RFC3339,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return sane(t)
		}
	}
	return time.Time{}
}

// sane is t, or zero if mail did not exist then.
func sane(t time.Time) time.Time {
	if t.Year() < 1971 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
