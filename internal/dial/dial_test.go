package dial

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/mailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs script on the first connection to a port, and returns where.
func serve(t *testing.T, script func(net.Conn)) Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		script(c)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return Endpoint{Protocol: mailbox.IMAP, Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: mailbox.Plaintext, Timeout: 5 * time.Second}
}

// dial connects, and closes with the test.
func dial(t *testing.T, ctx context.Context, e Endpoint) (*Conn, error) { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	c, err := new(Dialer).Dial(ctx, e)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func wantFault(t *testing.T, err error, class fault.Class, code string) {
	t.Helper()
	gotClass, gotCode, text, hint := fault.Describe(err)
	if gotClass != class || gotCode != code {
		t.Fatalf("error: got %s %s (%s), want %s %s", gotClass, gotCode, text, class, code)
	}
	if hint == "" && class != fault.Stopping {
		t.Errorf("%s has no hint", code)
	}
}

// greeting reads the first line.
func greeting(t *testing.T, c *Conn) string {
	t.Helper()
	defer c.Op(t.Context(), 5*time.Second, 1<<10)()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("read the greeting: %v", err)
	}
	return line
}

func TestDialDovecot(t *testing.T) {
	d := mailtest.StartDovecot(t)
	for _, protocol := range []mailbox.Protocol{mailbox.IMAP, mailbox.POP3} {
		want := map[mailbox.Protocol]string{mailbox.IMAP: "* OK ", mailbox.POP3: "+OK "}[protocol]
		for _, mode := range []mailbox.TLSMode{mailbox.Plaintext, mailbox.StartTLS, mailbox.ImplicitTLS} {
			t.Run(fmt.Sprintf("%s %s", protocol, mode), func(t *testing.T) {
				c, err := dial(t, t.Context(), EndpointOf(d.Profile(protocol, mode)))
				if err != nil {
					t.Fatalf("dial: %v", err)
				}
				got := greeting(t, c)
				if !strings.HasPrefix(got, want) {
					t.Errorf("greeting: got %q, want %q first", got, want)
				}
				if mode == mailbox.StartTLS && strings.Contains(got, "CAPABILITY") {
					t.Errorf("greeting after STARTTLS: got %q, want it without capabilities", got)
				}
				if _, secured := c.Conn.(*tls.Conn); secured != (mode != mailbox.Plaintext) {
					t.Errorf("TLS: got %t for mode %s", secured, mode)
				}
			})
		}
	}
}

func TestDialFaults(t *testing.T) {
	ca := mailtest.NewCA(t)
	other := mailtest.NewCA(t)
	tlsServer := func(cert mailtest.Certificate, most uint16) func(net.Conn) {
		pair := ca.Issue(t, cert)
		return func(c net.Conn) {
			_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: most}).Handshake()
		}
	}
	say := func(lines ...string) func(net.Conn) {
		return func(c net.Conn) {
			br := bufio.NewReader(c)
			for i, line := range lines {
				if i > 0 {
					if _, err := br.ReadString('\n'); err != nil {
						return
					}
				}
				_, _ = io.WriteString(c, line)
			}
		}
	}
	for name, tc := range map[string]struct {
		script   func(net.Conn)
		mode     mailbox.TLSMode
		protocol mailbox.Protocol
		ca       string
		class    fault.Class
		code     string
	}{
		"good certificate":     {tlsServer(mailtest.Certificate{}, 0), mailbox.ImplicitTLS, mailbox.IMAP, ca.File, "", ""},
		"expired":              {tlsServer(mailtest.Expired(), 0), mailbox.ImplicitTLS, mailbox.IMAP, ca.File, fault.Permanent, "certificate_expired"},
		"wrong name":           {tlsServer(mailtest.WrongName(), 0), mailbox.ImplicitTLS, mailbox.IMAP, ca.File, fault.Permanent, "certificate_name_mismatch"},
		"unknown CA":           {tlsServer(mailtest.Certificate{}, 0), mailbox.ImplicitTLS, mailbox.IMAP, other.File, fault.Permanent, "certificate_unknown_authority"},
		"the system's CAs":     {tlsServer(mailtest.Certificate{}, 0), mailbox.ImplicitTLS, mailbox.IMAP, "", fault.Permanent, "certificate_unknown_authority"},
		"TLS 1.1":              {tlsServer(mailtest.Certificate{}, tls.VersionTLS11), mailbox.ImplicitTLS, mailbox.IMAP, ca.File, fault.Transient, "tls_handshake"},
		"no TLS there":         {say("* OK no TLS at once\r\n"), mailbox.ImplicitTLS, mailbox.IMAP, ca.File, fault.Transient, "tls_handshake"},
		"closed in handshake":  {func(net.Conn) {}, mailbox.ImplicitTLS, mailbox.IMAP, ca.File, fault.Transient, "closed_by_server"},
		"no CA file":           {nil, mailbox.ImplicitTLS, mailbox.IMAP, "/nowhere/ca.pem", fault.Permanent, "ca_file_unreadable"},
		"IMAP refuses":         {say("* OK hi\r\n", "P0 BAD no\r\n"), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "starttls_refused"},
		"IMAP BYE":             {say("* BYE too many\r\n"), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "starttls_refused"},
		"IMAP PREAUTH":         {say("* PREAUTH you are in\r\n"), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "starttls_refused"},
		"POP3 refuses":         {say("+OK hi\r\n", "-ERR no\r\n"), mailbox.StartTLS, mailbox.POP3, ca.File, fault.Transient, "starttls_refused"},
		"POP3 not ready":       {say("-ERR later\r\n"), mailbox.StartTLS, mailbox.POP3, ca.File, fault.Transient, "starttls_refused"},
		"endless greeting":     {say(strings.Repeat("x", maxLine+10)), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "octet_budget"},
		"endless untagged":     {say("* OK hi\r\n", strings.Repeat("* OK more\r\n", maxLines+1)), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "starttls_refused"},
		"closed in greeting":   {say("* OK"), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "closed_by_server"},
		"IMAP injection":       {say("* OK hi\r\n", "P0 OK go\r\n* OK [CAPABILITY X] injected\r\n"), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Transient, "tls_handshake"},
		"POP3 injection":       {say("+OK hi\r\n", "+OK go\r\n+OK injected\r\n"), mailbox.StartTLS, mailbox.POP3, ca.File, fault.Transient, "tls_handshake"},
		"unknown mode":         {say(""), "maybe", mailbox.IMAP, ca.File, fault.Permanent, "tls_mode_unknown"},
		"STARTTLS wrong name":  {startTLSThen(tlsServer(mailtest.WrongName(), 0)), mailbox.StartTLS, mailbox.IMAP, ca.File, fault.Permanent, "certificate_name_mismatch"},
		"STARTTLS good at all": {startTLSThen(tlsServer(mailtest.Certificate{}, 0)), mailbox.StartTLS, mailbox.IMAP, ca.File, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := Endpoint{Host: "127.0.0.1", Timeout: time.Second}
			if tc.script != nil {
				e = serve(t, tc.script)
			}
			e.TLS, e.Protocol, e.CAFile = tc.mode, tc.protocol, tc.ca
			_, err := dial(t, t.Context(), e)
			if tc.code == "" {
				if err != nil {
					t.Fatalf("dial: got %v, want none", err)
				}
				return
			}
			wantFault(t, err, tc.class, tc.code)
		})
	}
}

func startTLSThen(script func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, "* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n")
		b := make([]byte, len("P0 STARTTLS\r\n"))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		_, _ = io.WriteString(c, "* CAPABILITY evil\r\nP0 OK go\r\n")
		script(c)
	}
}

func TestDialRefusedAndUnresolved(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	_, err = dial(t, t.Context(), Endpoint{Host: "127.0.0.1", Port: port, TLS: mailbox.Plaintext})
	wantFault(t, err, fault.Transient, "connect_refused")
	_, err = dial(t, t.Context(), Endpoint{Host: "no such host.invalid", Port: port, TLS: mailbox.Plaintext, Timeout: time.Second})
	wantFault(t, err, fault.Transient, "resolve_failed")
}

func TestDialStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := dial(t, ctx, Endpoint{Host: "127.0.0.1", Port: 1, TLS: mailbox.Plaintext})
	wantFault(t, err, fault.Stopping, "interrupted")
}

// A server that is silent in the middle of a handshake costs the time-out, and a stop ends it at once.
func TestDialSilentHandshake(t *testing.T) {
	ca := mailtest.NewCA(t)
	hold := make(chan struct{})
	silent := func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		<-hold
	}
	t.Run("time-out", func(t *testing.T) {
		e := serve(t, silent)
		e.TLS, e.CAFile, e.Timeout = mailbox.ImplicitTLS, ca.File, 50*time.Millisecond
		_, err := dial(t, t.Context(), e)
		wantFault(t, err, fault.Transient, "deadline")
		hold <- struct{}{}
	})
	t.Run("stop", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		e := serve(t, func(c net.Conn) { cancel(); silent(c) })
		e.TLS, e.CAFile = mailbox.ImplicitTLS, ca.File
		_, err := dial(t, ctx, e)
		wantFault(t, err, fault.Stopping, "interrupted")
		close(hold)
	})
}

func TestCAFileIsReadAgainWhenItChanges(t *testing.T) {
	first, second := mailtest.NewCA(t), mailtest.NewCA(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	install := func(ca *mailtest.CA, modified time.Time) {
		pem, err := os.ReadFile(ca.File)
		if err == nil {
			err = errors.Join(os.WriteFile(file, pem, 0o600), os.Chtimes(file, modified, modified))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	install(first, now)
	d := new(Dialer)
	a, err := d.cas(file)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := d.cas(file); a != b {
		t.Error("unchanged file: got another pool, want the same")
	}
	install(second, now.Add(time.Second))
	if b, _ := d.cas(file); a == b || a.Equal(b) {
		t.Error("changed file: got the old pool, want the new one")
	}
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = d.cas(file)
	wantFault(t, err, fault.Permanent, "ca_file_empty")
}

func TestServerText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"\ta\r\nb\x00\x1b[31m\x7f": "ab[31m",
		"\xff\u0085\u2028x":        "?x",
		strings.Repeat("é", 150):   strings.Repeat("é", 100) + "…",
	} {
		if got := ServerText(in); got != want {
			t.Errorf("ServerText(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestWithoutCode(t *testing.T) {
	for in, want := range map[string]string{
		"* OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready.": "* OK Dovecot ready.\r\n",
		"* ok ready":       "* OK ready\r\n",
		"* OK":             "* OK \r\n",
		"* OK [CAPABILITY": "* OK \r\n",
	} {
		if got := string(withoutCode(in)); got != want {
			t.Errorf("withoutCode(%q): got %q, want %q", in, got, want)
		}
	}
}
