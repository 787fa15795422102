package mailtest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

func TestDovecotServesWhatWasAppended(t *testing.T) {
	d := StartDovecot(t)
	d.AddUser(t, "ann", `p"a\ss:word`)
	sent := []byte("Subject: one\r\n\r\nbody\r\n.\r\n..\r\n")
	date := time.Date(2026, 3, 4, 5, 6, 7, 0, time.FixedZone("", 3600))
	uid := d.Append(t, "ann", "Archive", sent, date)

	w := d.Plain(t, "ann")
	if reply, _ := w.Command("EXAMINE Archive"); !strings.HasPrefix(reply, "OK") {
		t.Fatalf("EXAMINE: got %q, want OK", reply)
	}
	if got := w.Message(uid); !bytes.Equal(got, sent) {
		t.Errorf("octets: got %q, want %q", got, sent)
	}
	if _, got := w.Command("UID FETCH 1:* INTERNALDATE"); !strings.Contains(got, `"04-Mar-2026 04:06:07 +0000"`) {
		t.Errorf("INTERNALDATE: got %q, want 04-Mar-2026 04:06:07 +0000", got)
	}
}

// What the comment of Append says about line ends is measured, not believed.
func TestDovecotLineEnds(t *testing.T) {
	d := StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	const bare, crlf = "Subject: x\n\nbody\n", "Subject: x\r\n\r\nbody\r\n"
	for _, file := range []struct{ name, octets string }{{"1.bare", bare}, {"2.crlf", crlf}} {
		d.WriteFile(t, "ann", "INBOX", file.name, []byte(file.octets))
	}
	appended := d.Append(t, "ann", "INBOX", []byte(bare), time.Time{})
	w := d.Plain(t, "ann")
	w.Command("EXAMINE INBOX")
	for uid := uint32(1); uid <= appended; uid++ {
		if got := string(w.Message(uid)); got != crlf {
			t.Errorf("UID %d: got %q, want %q", uid, got, crlf)
		}
	}
	if appended != 3 {
		t.Errorf("messages: got %d, want 3", appended)
	}
}

func TestDovecotListensWithTLS(t *testing.T) {
	d := StartDovecot(t)
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(d.CA.File)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pem)
	for _, protocol := range []mailbox.Protocol{mailbox.IMAP, mailbox.POP3} {
		p := d.Profile(protocol, mailbox.ImplicitTLS)
		c, err := tls.Dial("tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)), &tls.Config{RootCAs: pool})
		if err != nil {
			t.Errorf("%s: %v", protocol, err)
			continue
		}
		_ = c.Close()
	}
}

func TestDovecotOutage(t *testing.T) {
	d := StartDovecot(t)
	d.AddUser(t, "ann", "pw")
	d.Append(t, "ann", "INBOX", []byte("Subject: kept\r\n\r\n"), time.Time{})
	for name, end := range map[string]func(testing.TB){"stop": d.Stop, "kill": d.Kill} {
		end(t)
		if c, err := net.Dial("tcp", d.Address(mailbox.IMAP)); err == nil {
			_ = c.Close()
			t.Errorf("after %s: it still listens", name)
		}
		d.Restart(t)
		w := d.Plain(t, "ann")
		if _, got := w.Command("EXAMINE INBOX"); !strings.Contains(got, "* 1 EXISTS") {
			t.Errorf("after %s and restart: got %q, want one message", name, got)
		}
		w.Close()
	}
}

func TestDovecotTakesConfiguration(t *testing.T) {
	d := StartDovecot(t, "imap_capability = IMAP4rev1 UIDPLUS")
	d.AddUser(t, "ann", "pw")
	if _, got := d.Plain(t, "ann").Command("CAPABILITY"); got != "* CAPABILITY IMAP4rev1 UIDPLUS\r\n" {
		t.Errorf("capabilities: got %q, want those configured", got)
	}
}

func TestDovecotWithoutLMTP(t *testing.T) {
	if hasLMTP("/nowhere/sbin/dovecot") {
		t.Error("LMTP: got true, want false for a Dovecot that is not there")
	}
}

func TestCertificates(t *testing.T) {
	ca := NewCA(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	for name, tc := range map[string]struct {
		cert Certificate
		want string // in the error; "" for none
	}{
		"good":       {Certificate{}, ""},
		"expired":    {Expired(), "expired"},
		"wrong name": {WrongName(), "cannot validate certificate for 127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			pair := ca.Issue(t, tc.cert)
			_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "127.0.0.1", Roots: pool})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("verify: got %v, want %q", err, tc.want)
			}
		})
	}
}
