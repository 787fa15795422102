package e2e

import (
	"bytes"
	"net/mail"

	"github.com/postroom/postroom/internal/mailtest"
)

// crlf returns octets with every line end as a mail server shows it.
func crlf(octets []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(octets, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// forwardable reports whether a sample can be put into any wrapper so that a server hands it out as it was put in: a
// whole message with the fields that every mail has, without octets or line ends that servers change.
func forwardable(s *mailtest.Sample) bool {
	m, err := mail.ReadMessage(bytes.NewReader(s.Octets))
	if err != nil || s.Label != "ordinary" || len(s.Octets) > 200<<10 {
		return false
	}
	for _, name := range []string{"From", "Date", "Subject"} {
		if len(m.Header[name]) != 1 {
			return false
		}
	}
	octets := crlf(s.Octets)
	return bytes.HasSuffix(octets, []byte("\r\n")) && bytes.IndexByte(octets, 0) < 0 &&
		!bytes.Contains(bytes.ReplaceAll(octets, []byte("\r\n"), nil), []byte("\r"))
}
