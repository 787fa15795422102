package mailtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// owner is who mail belongs to: an unprivileged user when the tests run as root, else who runs them.
type owner struct {
	uid, gid      int
	internal      string // Dovecot's user for its own processes
	login         string // Dovecot's user for processes that strangers speak to
	internalGroup string
	root          bool
}

func mailOwner(tb testing.TB) owner {
	tb.Helper()
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			tb.Fatalf("find the user that mail is to belong to: %v", err)
		}
		uid, gid := ids(tb, nobody)
		return owner{uid: uid, gid: gid, internal: "dovecot", login: "dovenull", internalGroup: "dovecot", root: true}
	}
	me, err := user.Current()
	if err != nil {
		tb.Fatalf("find who runs the tests: %v", err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		tb.Fatalf("find the group of who runs the tests: %v", err)
	}
	uid, gid := ids(tb, me)
	return owner{uid: uid, gid: gid, internal: me.Username, login: me.Username, internalGroup: group.Name}
}

func ids(tb testing.TB, u *user.User) (uid, gid int) {
	tb.Helper()
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		tb.Fatalf("uid of %s: %v", u.Username, err)
	}
	gid, err = strconv.Atoi(u.Gid)
	if err != nil {
		tb.Fatalf("gid of %s: %v", u.Username, err)
	}
	return uid, gid
}

func (o owner) own(tb testing.TB, path string) {
	tb.Helper()
	if !o.root {
		return
	}
	if err := os.Chown(path, o.uid, o.gid); err != nil {
		tb.Fatalf("give %s to the mail user: %v", path, err)
	}
}

// findDovecot returns the program; without one the test is skipped, or fails under CI.
func findDovecot(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"dovecot", "/usr/sbin/dovecot", "/usr/local/sbin/dovecot"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no dovecot on this machine: install dovecot-imapd and dovecot-pop3d (Debian), or dovecot"
	if os.Getenv("CI") == "true" {
		tb.Fatal(missing)
	}
	tb.Skip(missing)
	return ""
}

// hasLMTP reports whether Dovecot's LMTP server stands where Debian, Fedora or a source build put it.
func hasLMTP(program string) bool {
	prefix := filepath.Dir(filepath.Dir(program))
	for _, dir := range []string{"lib/dovecot", "libexec/dovecot"} {
		if _, err := os.Stat(filepath.Join(prefix, dir, "lmtp")); err == nil {
			return true
		}
	}
	return false
}

// freePorts returns ports that nobody listens on now.
func freePorts(tb testing.TB, program string) Ports {
	tb.Helper()
	var p Ports
	wanted := []*int{&p.IMAP, &p.IMAPS, &p.POP3, &p.POP3S}
	if hasLMTP(program) {
		wanted = append(wanted, &p.LMTP)
	}
	for _, port := range wanted {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("find a free port: %v", err)
		}
		defer func() { _ = l.Close() }()
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p
}

func (d *Dovecot) writeConfig(tb testing.TB) {
	tb.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, dovecotConfig, d.dir, d.owner.internal, d.owner.login, d.owner.internalGroup,
		d.Ports.IMAP, d.Ports.IMAPS, d.Ports.POP3, d.Ports.POP3S)
	protocols := "imap pop3"
	if d.Ports.LMTP != 0 {
		protocols += " lmtp"
		fmt.Fprintf(&b, "service lmtp {\n inet_listener lmtp {\n  port = %d\n }\n}\n", d.Ports.LMTP)
	}
	fmt.Fprintf(&b, "protocols = %s\n", protocols)
	if !d.owner.root { // only root can change its root directory
		for _, service := range []string{"imap-login", "pop3-login", "anvil", "stats"} {
			fmt.Fprintf(&b, "service %s {\n chroot =\n}\n", service)
		}
	}
	for _, line := range d.extra {
		fmt.Fprintln(&b, line)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "dovecot.conf"), []byte(b.String()), 0o600); err != nil {
		tb.Fatalf("write Dovecot's configuration: %v", err)
	}
}

// dovecotConfig takes: directory, three users and groups, four ports. A wrong password is answered at once, and however
// many log-ins come from one address.
const dovecotConfig = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/dovecot.log
instance_name = postroom-test
default_internal_user = %[2]s
default_login_user = %[3]s
default_internal_group = %[4]s
listen = 127.0.0.1
ssl = yes
ssl_cert = <%[1]s/server.pem
ssl_key = <%[1]s/server.key
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
mail_max_userip_connections = 0
mail_location = maildir:~/Maildir
mail_save_crlf = yes
mail_fsync = never
maildir_copy_with_hardlinks = yes
first_valid_uid = 1
first_valid_gid = 1
pop3_uidl_format = %%08Xu%%08Xv
namespace inbox {
 inbox = yes
}
passdb {
 driver = passwd-file
 args = %[1]s/users/%%u
}
userdb {
 driver = passwd-file
 args = %[1]s/users/%%u
}
service imap-login {
 service_count = 0
 inet_listener imap {
  port = %[5]d
 }
 inet_listener imaps {
  port = %[6]d
  ssl = yes
 }
}
service pop3-login {
 service_count = 0
 inet_listener pop3 {
  port = %[7]d
 }
 inet_listener pop3s {
  port = %[8]d
  ssl = yes
 }
}
service anvil {
 unix_listener anvil-auth-penalty {
  mode = 0
 }
}
`
