// Package pop3 is the POP3 source (RFC 1939, 2449, 2595, 3206, 5034): it lists a maildrop, hands over messages as the
// server sends them, and deletes those that it is told to.
//
// Log-in and commands that are answered with one line go through go-pop3; UIDL, LIST, TOP and RETR are read by a strict
// reader of our own on the same connection, because what a message says must never be taken for what the server says.
//
// Invariants:
//   - A message-number never leaves its session: messages are known by unique-id and size.
//   - A message is handed over whole, octet for octet, or not at all.
//   - A listing that may lack something never says that it is complete.
//   - Nothing is deleted but by Dispose, which trusts only the listing of its own session; and nothing is called deleted
//     without the server's answer to QUIT.
//   - Whatever a server sends, time and octets are bounded.
package pop3

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	gopop3 "github.com/knadh/go-pop3"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// Inbox is what the one folder of a maildrop is called.
const Inbox = "INBOX"

// maxCommand is how long a line of AUTH may be with its initial response (RFC 5034 §4).
const maxCommand = 255

// Opener opens sessions. It is safe for concurrent use.
type Opener struct {
	SpoolDir string // for messages of more than source.MemoryOctets; "": the system's directory for temporary files
	Dialer   *dial.Dialer
}

// Open connects to the profile's server and logs in: with USER and PASS, or with SASL PLAIN if the server announces that
// and not USER. Its errors have the class that RFC 2449 §8 and RFC 3206 give the server's answer; a refused password
// without a code is an Auth error. No error holds the password.
func (o *Opener) Open(ctx context.Context, p *mailbox.Profile, username, password string) (*Session, error) {
	if strings.ContainsAny(username+password, "\r\n\x00") || username == "" {
		return nil, fault.New(fault.Permanent, "credentials_invalid",
			"a username must not be empty, and neither it nor the secret may hold a line end",
			errors.New("username or password cannot be sent over POP3"))
	}
	conn, err := o.Dialer.Dial(ctx, dial.EndpointOf(p))
	if err != nil {
		return nil, err
	}
	s := &Session{conn: conn, wire: newWire(conn), spoolDir: o.SpoolDir, timeout: p.Timeout}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	s.relay = &relay{Conn: conn, wire: s.wire}
	if err := s.logIn(ctx, username, password); err != nil {
		s.drop()
		return nil, err
	}
	return s, nil
}

// handOver is go-pop3's Dialer for a connection that is there already.
type handOver struct{ conn net.Conn }

// Dial implements go-pop3's Dialer.
func (h handOver) Dial(string, string) (net.Conn, error) { return h.conn, nil }

func (s *Session) logIn(ctx context.Context, username, password string) error {
	r, err := s.simple(ctx, s.timeout, func() (err error) {
		s.client, err = gopop3.New(gopop3.Opt{Dialer: handOver{s.relay}}).NewConn()
		return err
	})
	if err == nil && !r.ok {
		err = r.fault("greeting", fault.Transient, "greeting_refused", "the server lets no one in now: look at its log")
	}
	if err != nil {
		return fault.Wrap(err, "greeting")
	}
	if s.caps, err = s.capabilities(ctx); err != nil {
		return fault.Wrap(err, "CAPA")
	}
	if _, user := s.caps["USER"]; !user && slices.Contains(strings.Fields(strings.ToUpper(s.caps["SASL"])), "PLAIN") {
		err = s.authPlain(ctx, username, password)
	} else {
		err = s.userPass(ctx, username, password)
	}
	if err != nil || s.caps == nil || s.can("PIPELINING") && s.can("TOP") && s.can("UIDL") {
		return err
	}
	// Capabilities may differ after the log-in (RFC 2449 §5).
	if s.caps, err = s.capabilities(ctx); err != nil {
		return fault.Wrap(err, "CAPA")
	}
	return nil
}

// capabilities asks for CAPA. It returns nil if the server does not know it.
func (s *Session) capabilities(ctx context.Context) (map[string]string, error) {
	caps := map[string]string{}
	var r reply
	err := s.op(ctx, s.timeout, simpleOctets, func() (err error) {
		if _, err = s.conn.Write([]byte("CAPA\r\n")); err != nil {
			return err
		}
		if r, err = s.wire.status(); err != nil || !r.ok {
			return err
		}
		return s.wire.lines(spareLines, func(line []byte) error {
			keyword, arguments, _ := strings.Cut(string(line), " ")
			caps[strings.ToUpper(keyword)] = arguments
			return nil
		})
	})
	if err != nil || !r.ok {
		return nil, err
	}
	return caps, nil
}

func (s *Session) userPass(ctx context.Context, username, password string) error {
	r, err := s.simple(ctx, s.timeout, func() error { return s.client.User(username) })
	if err == nil && r.ok {
		r, err = s.simple(ctx, s.timeout, func() error { return s.client.Pass(password) })
	}
	return loggedIn(r, err, password)
}

// authPlain logs in with SASL PLAIN (RFC 4616), with the initial response on the line of AUTH if it fits.
func (s *Session) authPlain(ctx context.Context, username, password string) error {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + username + "\x00" + password))
	var r reply
	err := s.op(ctx, s.timeout, simpleOctets, func() (err error) {
		command := "AUTH PLAIN " + response
		if len(command)+2 > maxCommand {
			if r, err = s.exchange("AUTH PLAIN"); err != nil || !r.challenge {
				return err
			}
			command = response
		}
		if r, err = s.exchange(command); err == nil && r.challenge {
			err = violation("a second challenge in answer to AUTH PLAIN")
		}
		return err
	})
	return loggedIn(r, err, password, response)
}

func (s *Session) exchange(command string) (reply, error) {
	if _, err := s.conn.Write([]byte(command + "\r\n")); err != nil {
		return reply{}, err
	}
	return s.wire.status()
}

// loggedIn is the error for the answer to PASS or AUTH, nil if it is +OK. hide are secrets that it must not hold.
func loggedIn(r reply, err error, hide ...string) error {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Code == codeProtocol {
		return violation("log in: the answer is not one of POP3") // which it repeats, and that may be an echo
	}
	switch {
	case err != nil:
		return fmt.Errorf("log in: %w", err)
	case r.ok:
		return nil
	case r.code == "" && r.maildropLocked():
		return r.fault("log in", fault.Transient, "in_use", "another client has the maildrop open: it is tried again later", hide...)
	}
	return r.fault("log in", fault.Auth, "authentication_failed", hintAuth, hide...)
}
