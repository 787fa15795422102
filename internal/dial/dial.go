// Package dial connects to mail servers: TCP, implicit TLS, or STARTTLS and STLS.
//
// Invariants: certificates are always verified, and TLS is 1.2 or later; nothing that a server, or someone between,
// sent in the clear is read as if it had come through TLS; every step ends by the endpoint's time-out. What comes out is
// a Conn, on which every operation has a deadline, a context and a limit of octets, whatever the library above it does.
//
// It knows of IMAP and POP3 only how to ask for TLS. It never logs in, and never falls back to an unprotected
// connection.
package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

// DefaultTimeout is that of an Endpoint without one.
const DefaultTimeout = 30 * time.Second

// Endpoint is where and how a server is reached.
type Endpoint struct {
	Protocol mailbox.Protocol
	Host     string
	Port     int
	TLS      mailbox.TLSMode
	CAFile   string        // PEM of the CAs to trust instead of the system's; "" for the system's
	Timeout  time.Duration // of connecting and of securing the connection, each; 0: DefaultTimeout
}

// EndpointOf returns the endpoint of a profile.
func EndpointOf(p *mailbox.Profile) Endpoint {
	return Endpoint{Protocol: p.Protocol, Host: p.Host, Port: p.Port, TLS: p.TLS, CAFile: p.CAFile, Timeout: p.Timeout}
}

// Address returns host:port.
func (e Endpoint) Address() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Dialer opens connections. Those that share it share what was read of CA files. The zero value is ready, and it is
// safe for concurrent use.
type Dialer struct {
	mu    sync.Mutex
	pools map[string]*pool
}

// Dial connects to e and secures the connection as e.TLS says. The caller begins an operation with Conn.Op before it
// reads the greeting. After STARTTLS or STLS the greeting is read from the Conn as it came before, without the
// capabilities that IMAP announced in the clear (RFC 3501 section 6.2.1).
//
// Errors are *fault.Error: resolve_failed, connect_refused, connect_timeout, network, tls_handshake, starttls_refused and
// closed_by_server are transient; certificate_* and ca_file_* are permanent.
func (d *Dialer) Dial(ctx context.Context, e Endpoint) (*Conn, error) {
	if e.Timeout <= 0 {
		e.Timeout = DefaultTimeout
	}
	var config *tls.Config
	if e.TLS != mailbox.Plaintext {
		var err error
		if config, err = d.config(e); err != nil {
			return nil, err
		}
	}
	raw, err := connect(ctx, e)
	if err != nil {
		return nil, err
	}
	c := newConn(raw, e)
	if err := c.secure(ctx, e, config); err != nil {
		_ = c.Close() // the fault says why
		return nil, err
	}
	return c, nil
}

func connect(ctx context.Context, e Endpoint) (net.Conn, error) {
	dialer := net.Dialer{Timeout: e.Timeout}
	raw, err := dialer.DialContext(ctx, "tcp", e.Address())
	if err == nil {
		return raw, nil
	}
	if ctx.Err() != nil {
		return nil, fault.New(stopClass(ctx), "interrupted", "", fmt.Errorf("connect to %s: %w", e.Address(), context.Cause(ctx)))
	}
	err = fmt.Errorf("connect to %s: %w", e.Address(), err)
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return nil, fault.New(fault.Transient, "resolve_failed",
			fmt.Sprintf("check the host name %q in the profile and the DNS servers of this machine", e.Host), err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fault.New(fault.Transient, "connect_refused",
			fmt.Sprintf("nothing listens on port %d of %s: check host and port in the profile, and that the mail server runs", e.Port, e.Host), err)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil, fault.New(fault.Transient, "connect_timeout",
			fmt.Sprintf("%s did not answer on port %d: check the port, firewalls and routes", e.Host, e.Port), err)
	}
	return nil, fault.New(fault.Transient, "network", "check this machine's network and the way to the mail server", err)
}

// secure brings the connection to where e.TLS wants it.
func (c *Conn) secure(ctx context.Context, e Endpoint, config *tls.Config) error {
	defer c.Op(ctx, e.Timeout, greetingOctets)()
	switch e.TLS {
	case mailbox.Plaintext:
		return nil
	case mailbox.ImplicitTLS:
		return c.handshake(ctx, e, config)
	case mailbox.StartTLS:
		greeting, err := c.startTLS(e)
		if err != nil {
			return err
		}
		if err := c.handshake(ctx, e, config); err != nil {
			return err
		}
		c.replay = greeting
		return nil
	}
	return fault.New(fault.Permanent, "tls_mode_unknown", "set tls of the profile to implicit, starttls or plaintext",
		fmt.Errorf("TLS mode %q is unknown", e.TLS))
}

func (c *Conn) handshake(ctx context.Context, e Endpoint, config *tls.Config) error {
	t := tls.Client(c.raw, config)
	// The operation ends the handshake with ctx, and keeps the reason; the handshake's own watch on it would race that.
	err := t.HandshakeContext(context.WithoutCancel(ctx))
	if err == nil {
		c.Conn = t
		return nil
	}
	// crypto/tls reports the alert of a server that wants no such TLS as a fault of the network.
	if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
		err = c.Fault(err)
	}
	return tlsFault(e, err)
}

// greetingOctets bounds a greeting, and with STARTTLS what comes before TLS.
const greetingOctets = 64 << 10

// ServerText makes a server's words fit for an error: one line, printable, at most 200 octets.
func ServerText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	const most = 200
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.TrimSpace(s)
}
