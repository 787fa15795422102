package demo

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/dial"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pop3"
	"github.com/postroom/postroom/internal/source"
)

// dropServer is a sample POP3 server with mail, and what a client needs to know of it.
type dropServer struct {
	*pop3Server

	profile *mailbox.Profile
	roots   *x509.CertPool
	address string
	octets  [][]byte
}

func newDropServer(t *testing.T, files ...string) *dropServer {
	t.Helper()
	cert, ca, err := makeCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	drop := &maildrop{user: "support", password: "open sesame"}
	d := &dropServer{roots: x509.NewCertPool()}
	d.roots.AppendCertsFromPEM(ca)
	for _, file := range files {
		raw, err := octets(file)
		if err != nil {
			t.Fatal(err)
		}
		drop.add(raw)
		d.octets = append(d.octets, raw)
	}
	l, err := listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.address = l.Addr().String()
	d.pop3Server = startPOP3(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, drop)
	t.Cleanup(d.close)
	d.profile = &mailbox.Profile{
		Name: "demo", Protocol: mailbox.POP3, Host: serverAddress, Port: portOf(l), TLS: mailbox.StartTLS, CAFile: caFile,
		Timeout: 10 * time.Second, MaxOctets: 1 << 20,
	}
	return d
}

func (d *dropServer) open(t *testing.T) *pop3.Session {
	t.Helper()
	s, err := (&pop3.Opener{Dialer: new(dial.Dialer)}).Open(t.Context(), d.profile, "support", "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(t.Context()) })
	return s
}

// list returns a complete listing.
func list(t *testing.T, s *pop3.Session, since source.Since) source.Listing {
	t.Helper()
	l, err := s.List(t.Context(), "INBOX", since)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Complete {
		t.Error("the listing is not complete")
	}
	return l
}

func TestPOP3HandsOverWhatItHolds(t *testing.T) {
	t.Parallel()
	files := []string{"support/dark-display.eml", "support/dots.eml", "support/no-separator.eml", "support/dots.eml"}
	d := newDropServer(t, files...)
	s := d.open(t)
	l := list(t, s, source.Since{Dates: true})
	if len(l.Refs) != len(files) || l.Messages != len(files) {
		t.Fatalf("got %d of %d messages, want %d", len(l.Refs), l.Messages, len(files))
	}
	seen := map[string]bool{}
	for i, ref := range l.Refs {
		if ref.Octets != int64(len(d.octets[i])) || seen[ref.UniqueID] {
			t.Errorf("%s: got %d octets and unique-id %q, want %d and one of its own", files[i], ref.Octets, ref.UniqueID, len(d.octets[i]))
		}
		seen[ref.UniqueID] = true
		if ref.InternalDate.IsZero() {
			t.Errorf("%s: got no date, want that of Received, by TOP", files[i])
		}
	}
	n := 0
	err := s.Fetch(t.Context(), l.Refs, 1<<20, func(f source.Fetched) error {
		if f.Err != nil {
			return f.Err
		}
		if want := d.octets[f.Ref.Number-1]; !bytes.Equal(f.Raw.Bytes(), want) {
			t.Errorf("%s: got %q, want %q", files[f.Ref.Number-1], f.Raw.Bytes(), want)
		}
		n++
		return f.Raw.Close()
	})
	if err != nil || n != len(files) {
		t.Errorf("got %d messages and %v, want %d", n, err, len(files))
	}
}

func TestPOP3DeletesAtQuitAlone(t *testing.T) {
	t.Parallel()
	d := newDropServer(t, "support/dark-display.eml", "support/dots.eml", "support/readings.eml")
	s := d.open(t)
	first := list(t, s, source.Since{})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.interrupt(t, "DELE 1")

	var gone []source.Disposed
	retry(t, func() error {
		s, err := (&pop3.Opener{Dialer: new(dial.Dialer)}).Open(t.Context(), d.profile, "support", "open sesame")
		if err != nil {
			return err
		}
		if l := list(t, s, source.Since{}); len(l.Refs) != len(first.Refs) {
			t.Errorf("got %d messages after a connection that broke, want %d", len(l.Refs), len(first.Refs))
		}
		gone, err = s.Dispose(t.Context(), []source.Order{{ReceiptID: 1, Ref: first.Refs[1], Action: source.Delete}})
		return err
	})
	if len(gone) != 1 || gone[0].Done != source.DoneYes {
		t.Fatalf("got %+v, want one done", gone)
	}
	var left source.Listing
	retry(t, func() error {
		s, err := (&pop3.Opener{Dialer: new(dial.Dialer)}).Open(t.Context(), d.profile, "support", "open sesame")
		if err != nil {
			return err
		}
		left = list(t, s, source.Since{})
		return s.Close(t.Context())
	})
	if len(left.Refs) != 2 || left.Refs[0].UniqueID != first.Refs[0].UniqueID || left.Refs[1].UniqueID != first.Refs[2].UniqueID {
		t.Errorf("got %+v, want the first and the third of %+v", left.Refs, first.Refs)
	}
}

// retry calls f until the maildrop is free: a server learns of a client's end a moment later.
func retry(t *testing.T, f func() error) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if _, code, _, _ := fault.Describe(err); code != "in_use" {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the maildrop stayed taken")
		case <-ticker.C:
		}
	}
}

func TestPOP3RefusesAWrongPassword(t *testing.T) {
	t.Parallel()
	d := newDropServer(t)
	for _, login := range [][2]string{{"support", "wrong"}, {"nobody", "open sesame"}} {
		_, err := (&pop3.Opener{Dialer: new(dial.Dialer)}).Open(t.Context(), d.profile, login[0], login[1])
		if fault.ClassOf(err) != fault.Auth {
			t.Errorf("%s: got %v, want an error of class auth", login[0], err)
		}
	}
}

func TestPOP3LetsOneSessionIn(t *testing.T) {
	t.Parallel()
	d := newDropServer(t)
	d.open(t)
	_, err := (&pop3.Opener{Dialer: new(dial.Dialer)}).Open(t.Context(), d.profile, "support", "open sesame")
	if err == nil || fault.ClassOf(err) != fault.Transient {
		t.Errorf("got %v, want a transient error: the maildrop is taken", err)
	}
}

// talk sends commands over a raw connection, with TLS if secure, and returns the answers up to the end of the
// connection.
func (d *dropServer) talk(t *testing.T, secure bool, commands string) string {
	t.Helper()
	conn := d.dial(t, secure)
	if _, err := conn.Write([]byte(commands)); err != nil {
		t.Fatal(err)
	}
	var answers bytes.Buffer
	_, _ = answers.ReadFrom(conn) // a connection that is cut short ends it too
	return answers.String()
}

func (d *dropServer) dial(t *testing.T, secure bool) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if !secure {
		return conn
	}
	in := bufio.NewReader(conn)
	if _, err := conn.Write([]byte("STLS\r\n")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the greeting, and the leave to begin TLS
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+OK") {
			t.Fatalf("got %q and %v, want +OK", line, err)
		}
	}
	return tls.Client(conn, &tls.Config{RootCAs: d.roots, ServerName: serverAddress, MinVersion: tls.VersionTLS12})
}

// interrupt logs in, sends a command, and breaks off without QUIT.
func (d *dropServer) interrupt(t *testing.T, command string) {
	t.Helper()
	retry(t, func() error {
		conn := d.dial(t, true)
		defer conn.Close() //nolint:errcheck // that is breaking off
		if _, err := conn.Write([]byte("USER support\r\nPASS open sesame\r\n" + command + "\r\n")); err != nil {
			return err
		}
		in := bufio.NewReader(conn)
		for _, want := range []string{"USER", "PASS", command} {
			line, err := in.ReadString('\n')
			if strings.Contains(line, "[IN-USE]") {
				return fault.New(fault.Transient, "in_use", "", fmt.Errorf("%s", line))
			}
			if err != nil || !strings.HasPrefix(line, "+OK") {
				return fmt.Errorf("%s: got %q and %w, want +OK", want, line, err)
			}
		}
		return nil
	})
}

func TestPOP3Commands(t *testing.T) {
	t.Parallel()
	const login = "USER support\r\nPASS open sesame\r\n"
	for name, tt := range map[string]struct {
		secure   bool
		commands string
		want     string // first words of the answers' lines after the greeting
	}{
		"no password in the clear":  {false, "USER support\r\nPASS open sesame\r\nQUIT\r\n", "-ERR -ERR +OK"},
		"nothing before the log-in": {true, "STAT\r\nRETR 1\r\nNOOP\r\nQUIT\r\n", "-ERR -ERR -ERR +OK"},
		"password without a name":   {true, "PASS open sesame\r\nQUIT\r\n", "-ERR +OK"},
		"pipelined":                 {true, login + "STAT\r\nNOOP\r\nDELE 1\r\nSTAT\r\nRETR 1\r\nRSET\r\nSTAT\r\nQUIT\r\n", "+OK +OK +OK +OK +OK +OK -ERR +OK +OK +OK"},
		"numbers that are none":     {true, login + "RETR 0\r\nRETR 2\r\nRETR x\r\nRETR\r\nDELE -1\r\nLIST 9\r\nUIDL 9\r\nTOP 1\r\nTOP 1 -1\r\nQUIT\r\n", "+OK +OK -ERR -ERR -ERR -ERR -ERR -ERR -ERR -ERR -ERR +OK"},
		"one at a time":             {true, login + "LIST 1\r\nUIDL 1\r\nQUIT\r\n", "+OK +OK +OK +OK +OK"},
		"lower case":                {true, "user support\r\npass open sesame\r\nstat\r\nquit\r\n", "+OK +OK +OK +OK"},
		"unknown":                   {true, login + "APOP\r\nXYZZY\r\nQUIT\r\n", "+OK +OK -ERR -ERR +OK"},
		"commands behind STLS":      {false, "STLS\r\nUSER support\r\n", ""},
		"a line without end":        {true, strings.Repeat("x", 2*pop3Line), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDropServer(t, "support/dots.eml")
			answers := d.talk(t, tt.secure, tt.commands)
			if !tt.secure {
				_, answers, _ = strings.Cut(answers, "\r\n") // the greeting
			}
			var got []string
			for line := range strings.Lines(answers) {
				word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
				got = append(got, word)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

func TestPOP3TopShowsSoManyLines(t *testing.T) {
	t.Parallel()
	d := newDropServer(t, "support/dots.eml")
	answers := d.talk(t, true, "USER support\r\nPASS open sesame\r\nTOP 1 2\r\nTOP 1 99\r\nQUIT\r\n")
	if want := "us-ascii\r\n\r\n..\r\n... start\r\n.\r\n+OK"; !strings.Contains(answers, want) {
		t.Errorf("got %q, want %q in it", answers, want)
	}
	if want := "on the wire.\r\n.\r\n+OK"; !strings.Contains(answers, want) {
		t.Errorf("got %q, want the whole message: %q in it", answers, want)
	}
}
