package imap

import (
	"context"
	"errors"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// login authenticates as the server offers it: AUTHENTICATE PLAIN in one step (RFC 4959), LOGIN, or AUTHENTICATE PLAIN in
// two. Capabilities are read again afterwards, as servers announce more of them then.
func (s *Session) login(ctx context.Context, username, password string) error {
	if strings.ContainsRune(username+password, 0) {
		return fault.New(fault.Permanent, "credentials_invalid", "remove the NUL from user name or password", errors.New("user name or password holds a NUL"))
	}
	plain := s.caps.Has(imap.AuthCap(sasl.Plain))
	login := !s.caps.Has(imap.CapLoginDisabled)
	what := "LOGIN"
	command := func() error { return s.client.Login(username, password).Wait() }
	if (plain && s.caps.Has(imap.CapSASLIR)) || (plain && (!login || !quotable(username) || !quotable(password))) {
		what = "AUTHENTICATE PLAIN"
		command = func() error { return s.client.Authenticate(sasl.NewPlainClient("", username, password)) }
	} else if !login {
		return s.noLogin()
	}
	err := s.run(ctx, what, s.timeout, commandOctets, want{}, func() error {
		err := command()
		if refused, ok := errors.AsType[*imap.Error](err); ok {
			return loginRefusal(what, refused) // ends the session
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.run(ctx, "CAPABILITY", s.timeout, commandOctets, want{}, func() error {
		caps, err := s.client.Capability().Wait()
		if err == nil && caps != nil {
			s.caps = caps
		}
		return err
	})
}

func (s *Session) noLogin() error {
	if s.profile.TLS == mailbox.Plaintext {
		return fault.New(fault.Permanent, "login_disabled", "set tls of the profile to implicit or starttls: the server takes no password in the clear",
			errors.New("the server says LOGINDISABLED"))
	}
	return fault.New(fault.Permanent, "no_mechanism", "let the server offer AUTH=PLAIN or LOGIN for this account",
		errors.New("the server offers neither AUTH=PLAIN nor LOGIN"))
}

// quotable reports whether s can be a quoted string. The client library would send any other as a literal, and can wait
// for ever for the server's leave.
func quotable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return len(s) <= 1024
}
