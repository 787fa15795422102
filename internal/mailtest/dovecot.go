// Package mailtest runs real mail servers for tests: a Dovecot of the test's own, with certificates made for it.
//
// It is for tests alone. Every server listens on loopback, on ports that were free, with its files in a directory of its
// own, and ends with the test that started it. Nothing of an installed Dovecot's configuration or mail is read.
package mailtest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

// startTimeout bounds the start of a server, stopTimeout its end.
const (
	startTimeout = 15 * time.Second
	stopTimeout  = 10 * time.Second
)

// Ports are where a Dovecot listens on 127.0.0.1.
type Ports struct {
	IMAP  int // plain, and STARTTLS
	IMAPS int
	POP3  int // plain, and STLS
	POP3S int
	LMTP  int // plain; 0 if this machine's Dovecot has no LMTP
}

// Dovecot is a running server.
type Dovecot struct {
	Ports Ports
	CA    *CA // whose certificate it shows, for localhost, 127.0.0.1 and ::1

	dir   string
	extra []string
	owner owner

	mu        sync.Mutex
	passwords map[string]string
	cmd       *exec.Cmd
	exited    chan struct{}
}

// StartDovecot starts a Dovecot that ends with the test. Each of extra is appended to its configuration, for example
// "imap_capability = IMAP4rev1 UIDPLUS". Without a Dovecot on the machine the test is skipped, or fails where the
// environment says CI=true.
func StartDovecot(tb testing.TB, extra ...string) *Dovecot {
	tb.Helper()
	program := findDovecot(tb)
	dir, err := os.MkdirTemp("", "postroom-dovecot-") //nolint:usetesting // a UNIX socket's path may have 107 octets, and other users enter
	if err != nil {
		tb.Fatalf("make Dovecot's directory: %v", err)
	}
	d := &Dovecot{dir: dir, extra: extra, owner: mailOwner(tb), passwords: map[string]string{}}
	tb.Cleanup(func() {
		d.Kill(tb) // an orderly stop takes a second
		if tb.Failed() {
			tb.Logf("Dovecot's log:\n%s", d.Log())
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("remove Dovecot's directory: %v", err)
		}
	})
	for _, sub := range []string{"run", "state", "mail", "users"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			tb.Fatalf("make Dovecot's directory: %v", err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // mail processes of another user enter it
		tb.Fatalf("open Dovecot's directory: %v", err)
	}
	d.owner.own(tb, filepath.Join(dir, "mail"))
	d.CA = newCA(tb, dir)
	d.CA.IssueFiles(tb, dir, Certificate{})
	for range 5 { // another process may take a port between our look and Dovecot's bind
		d.Ports = freePorts(tb, program)
		d.writeConfig(tb)
		if d.start(tb, program) {
			return d
		}
	}
	tb.Fatalf("Dovecot did not start:\n%s", d.Log())
	return nil
}

// AddUser makes an account, or changes its password. A new account is there for the next log-in; a changed password is
// once a second has passed since the last one.
func (d *Dovecot) AddUser(tb testing.TB, name, password string) {
	tb.Helper()
	d.mu.Lock()
	d.passwords[name] = password
	d.mu.Unlock()
	line := fmt.Sprintf("%s:{PLAIN.B64}%s:%d:%d::%s::\n", name, base64.StdEncoding.EncodeToString([]byte(password)),
		d.owner.uid, d.owner.gid, filepath.Join(d.dir, "mail", name))
	// A file for each user: Dovecot looks for changes in a file once a second at most.
	path := filepath.Join(d.dir, "users", name)
	if err := os.WriteFile(path+".new", []byte(line), 0o644); err != nil { // Dovecot's own user reads it
		tb.Fatalf("write the account: %v", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatalf("write the account: %v", err)
	}
}

// Profile returns a profile for this server, with its CA.
func (d *Dovecot) Profile(protocol mailbox.Protocol, mode mailbox.TLSMode) *mailbox.Profile {
	port := map[mailbox.Protocol]map[bool]int{
		mailbox.IMAP: {false: d.Ports.IMAP, true: d.Ports.IMAPS},
		mailbox.POP3: {false: d.Ports.POP3, true: d.Ports.POP3S},
	}[protocol][mode == mailbox.ImplicitTLS]
	return &mailbox.Profile{
		ID: 1, Name: "dovecot", Protocol: protocol, Host: "127.0.0.1", Port: port, TLS: mode, CAFile: d.CA.File,
		MaxConnections: 10, Timeout: 10 * time.Second, PollTimeout: time.Minute, MaxOctets: 64 << 20,
	}
}

// Address returns where a protocol is spoken without TLS, as host:port.
func (d *Dovecot) Address(protocol mailbox.Protocol) string {
	port := d.Ports.IMAP
	if protocol == mailbox.POP3 {
		port = d.Ports.POP3
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// Stop ends the server in good order; connections are closed. It may be called again, and by Cleanup.
func (d *Dovecot) Stop(tb testing.TB) {
	tb.Helper()
	d.end(tb, syscall.SIGTERM)
}

// Kill ends the server and all its processes at once, as a power cut would.
func (d *Dovecot) Kill(tb testing.TB) {
	tb.Helper()
	d.end(tb, syscall.SIGKILL)
}

// Restart stops the server if it runs and starts it again with the same ports, accounts and mail.
func (d *Dovecot) Restart(tb testing.TB) {
	tb.Helper()
	d.Stop(tb)
	if !d.start(tb, findDovecot(tb)) {
		tb.Fatalf("Dovecot did not start again:\n%s", d.Log())
	}
}

// Log returns what the server has logged.
func (d *Dovecot) Log() string {
	b, err := os.ReadFile(filepath.Join(d.dir, "dovecot.log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Maildir returns the folder's Maildir directory. It exists once the folder was opened or written to.
func (d *Dovecot) Maildir(user, folder string) string {
	path := filepath.Join(d.dir, "mail", user, "Maildir")
	if strings.EqualFold(folder, "INBOX") {
		return path
	}
	return filepath.Join(path, "."+folder)
}

func (d *Dovecot) start(tb testing.TB, program string) bool {
	tb.Helper()
	cmd := exec.Command(program, "-F", "-c", filepath.Join(d.dir, "dovecot.conf")) // ends by Stop, in good order
	var output bytes.Buffer
	cmd.Env = append(os.Environ(), "TZ=UTC") // INTERNALDATE is shown in its zone
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start Dovecot: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is seen in its log
	}()
	d.mu.Lock()
	d.cmd, d.exited = cmd, exited
	d.mu.Unlock()
	if err := d.ready(exited); err != nil {
		d.Stop(tb)
		tb.Logf("Dovecot is not ready: %v: %s", err, output.String())
		return false
	}
	return true
}

// ready waits until every port has a greeting of this server.
func (d *Dovecot) ready(exited <-chan struct{}) error {
	deadline := time.Now().Add(startTimeout)
	for _, port := range []int{d.Ports.IMAP, d.Ports.POP3} {
		for {
			err := greeted(port)
			if err == nil {
				break
			}
			select {
			case <-exited:
				return errors.New("it ended")
			case <-time.After(5 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	}
	return nil
}

func greeted(port int) error {
	c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func (d *Dovecot) end(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	d.mu.Lock()
	cmd, exited := d.cmd, d.exited
	d.cmd = nil
	d.mu.Unlock()
	if cmd == nil {
		return
	}
	target := cmd.Process.Pid
	if sig == syscall.SIGKILL {
		target = -target // its process group, which start made for it alone
	}
	if err := syscall.Kill(target, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		tb.Errorf("end Dovecot: %v", err)
	}
	select {
	case <-exited:
	case <-time.After(stopTimeout):
		tb.Errorf("Dovecot did not end within %s of signal %d", stopTimeout, sig)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the error above says it all
		<-exited
	}
}
