package dial

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// maxLine and maxLines bound what a server says before TLS.
const (
	maxLine  = 16 << 10
	maxLines = 100
)

// startTLS asks for TLS and returns the greeting to be shown after it.
//
// It reads octet by octet up to the end of the reply's line. What someone injected after it is still in the socket when
// the handshake begins, which fails on it: it can never be taken for the server's words.
func (c *Conn) startTLS(e Endpoint) ([]byte, error) {
	greeting, err := c.clearLine()
	if err != nil {
		return nil, err
	}
	if e.Protocol == mailbox.POP3 {
		return c.stls(e, greeting)
	}
	if !hasPrefixFold(greeting, "* OK") {
		return nil, refused(e, "greeting", greeting)
	}
	const tag = "P0 "
	if _, err := io.WriteString(c.raw, tag+"STARTTLS\r\n"); err != nil {
		return nil, c.Fault(err)
	}
	for range maxLines {
		line, err := c.clearLine()
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(line, "* "):
		case hasPrefixFold(line, tag+"OK"):
			return withoutCode(greeting), nil
		default:
			return nil, refused(e, "STARTTLS", strings.TrimPrefix(line, tag))
		}
	}
	return nil, refused(e, "STARTTLS", "no reply among its first lines")
}

func (c *Conn) stls(e Endpoint, greeting string) ([]byte, error) {
	if !strings.HasPrefix(greeting, "+OK") {
		return nil, refused(e, "greeting", greeting)
	}
	if _, err := io.WriteString(c.raw, "STLS\r\n"); err != nil {
		return nil, c.Fault(err)
	}
	reply, err := c.clearLine()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(reply, "+OK") {
		return nil, refused(e, "STLS", reply)
	}
	return []byte(greeting + "\r\n"), nil
}

// refused is about a server that does not offer TLS now, or does not let us in at all.
func refused(e Endpoint, what, reply string) error {
	return fault.New(fault.Transient, "starttls_refused",
		fmt.Sprintf("if %s has no STARTTLS on port %d, set tls of the profile to implicit and port to 993 (IMAP) or 995 (POP3)", e.Host, e.Port),
		fmt.Errorf("%s: %s was answered with %q", e.Address(), what, ServerText(reply)))
}

// clearLine reads one line without its end, from below TLS, octet by octet.
func (c *Conn) clearLine() (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < maxLine {
		if _, err := c.raw.Read(b); err != nil {
			return "", c.Fault(err)
		}
		if b[0] == '\n' {
			return string(bytes.TrimSuffix(line, []byte("\r"))), nil
		}
		line = append(line, b[0])
	}
	return "", c.keep(fault.New(fault.Transient, "octet_budget", "check that the profile's port is that of a mail server",
		errors.New("the server's first line does not end")))
}

// withoutCode returns an IMAP greeting without its response code: capabilities that came in the clear must not be
// believed, and the client has to ask for them again.
func withoutCode(greeting string) []byte {
	text := strings.TrimLeft(greeting[len("* OK"):], " ")
	if strings.HasPrefix(text, "[") {
		_, text, _ = strings.Cut(text, "]")
	}
	return []byte("* OK " + strings.TrimLeft(text, " ") + "\r\n")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
