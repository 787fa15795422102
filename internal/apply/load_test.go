package apply_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/fault"
)

func TestLoadNamesEverythingAtOnce(t *testing.T) {
	t.Parallel()
	file := write(t, "r.yaml", `profiles:
  - name: p
    protocol: imapp
    host: "imap example"
    port: 70000
    timeout: 30
    max_octets: 25
    exchange: 1
  - name: p
    protocol: pop3
    host: h
    poll_interval: 5m
users:
  - name: Anna
    addresss: anna@example.com
    mailbox:
      profile: p
      username: anna
      password_file: secret
      poll_interval: 5 minutes
      disposition: delete
      folders: [INBOX, inbox]
      start: yesterday
      trust: off
  - just a text
queues:
  name: Q
mailbox: []
`)
	_, err := apply.Load([]string{file})
	class, code, text, hint := fault.Describe(err)
	if class != fault.Permanent || code != "records_invalid" || hint == "" {
		t.Errorf("got class %s, code %s, hint %q", class, code, hint)
	}
	want := []string{
		`:3: profiles[0].protocol: "imapp" is not known; write imap or pop3`,
		`:4: profiles[0].host: "imap example" is not a host name`,
		`:5: profiles[0].port: 70000 is out of range; write a number from 1 to 65535`,
		`:6: profiles[0].timeout: "30" has no unit; write a duration with its unit: 30s, 5m, 24h`,
		`:7: profiles[0].max_octets: "25" has no unit; write a whole number and a unit`,
		`:8: profiles[0].exchange: must be true or false, but is a number`,
		`:9: profiles[1]: a second profile "p"; the first is at ` + file + `:2`,
		`:12: profiles[1].poll_interval: unknown key`,
		`:14: users[0].address: is missing; add it`,
		`:15: users[0].addresss: unknown key; did you mean address?`,
		`:19: users[0].mailbox.password_file: is not an absolute path`,
		`:20: users[0].mailbox.poll_interval: "5 minutes" is not a duration`,
		`:21: users[0].mailbox.disposition: a user's own mail is never deleted; write leave or move`,
		`:22: users[0].mailbox.folders: INBOX stands in the list twice`,
		`:23: users[0].mailbox.start: is not a start point; write now, all, a day`,
		`:24: users[0].mailbox.trust: is a rule of forward mailboxes`,
		`:25: users[1]: must hold keys, but is a text`,
		`:26: queues: must be a list, but is a mapping; begin each entry with a dash`,
		`:28: mailbox: unknown key; did you mean mailboxes?`,
	}
	lines := strings.Split(text, "\n")
	for i, w := range want {
		if i >= len(lines) || !strings.HasPrefix(lines[i], file+w) {
			t.Errorf("problem %d: got %q, want %q", i, append(lines, make([]string, len(want))...)[i], w)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("got %d problems, want %d:\n%s", len(lines), len(want), text)
	}
}

// in puts the keys of a mailbox into a file and returns what is wrong with it.
func in(t *testing.T, kind, keys string) string {
	t.Helper()
	text := "profiles:\n  - {name: i, protocol: imap, host: i}\n  - {name: p, protocol: pop3, host: p}\n"
	switch kind {
	case "user", "queue":
		text += kind + "s:\n  - name: N\n    address: n@example.com\n    mailbox:\n"
	default:
		text += "mailboxes:\n  - name: N\n    address: n@example.com\n    kind: forward\n"
	}
	indent := map[bool]string{true: "    ", false: "      "}[kind == "forward"]
	for line := range strings.SplitSeq(keys, "; ") {
		text += indent + line + "\n"
	}
	_, err := apply.Load([]string{write(t, "r.yaml", text)})
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestContradictions(t *testing.T) {
	t.Parallel()
	const imap = "profile: i; username: u; password_file: /x; "
	const pop = "profile: p; username: u; password_file: /x; "
	tests := []struct{ kind, keys, want string }{
		{"user", imap + "priority: 1", ""},
		{"queue", pop + "disposition: delete; delete_ignored: true", ""},
		{"forward", imap + "trust: off", ""},
		{"user", "aliases: []", "how its mail comes in is not said"},
		{"user", "profile: i", "needs a username"},
		{"user", "profile: i; username: u", "needs a password, by reference"},
		{"user", "incoming: server_side", "needs a profile"},
		{"user", imap + "password_credential: c", "named twice"},
		{"user", "incoming: forward_mailbox; username: u", "not polled itself"},
		{"user", imap + "incoming: none", "not polled itself"},
		{"user", imap + "disposition: delete", "never deleted"},
		{"user", imap + "delete_ignored: true", "is a rule of queues"},
		{"queue", imap + "token_suffices: true", "is a rule of forward mailboxes"},
		{"queue", imap + "delete_ignored: true", "mail is left on the server"},
		{"queue", imap + "delete_after: 1h", "mail is not deleted on the server"},
		{"queue", imap + "disposition: move; move_to: Done; delete_after: 1h", "mail is not deleted on the server"},
		{"queue", imap + "disposition: move", "not said where"},
		{"queue", imap + "move_to: X", "mail is not moved"},
		{"queue", imap + "disposition: move; move_to: inbox", "read again for ever"},
		{"queue", imap + "undeliverable_folder: INBOX", "read again for ever"},
		{"queue", pop + "folders: [Work]", "POP3 has one maildrop"},
		{"queue", pop + "disposition: move; move_to: X", "POP3 cannot move"},
		{"queue", pop + "undeliverable_folder: X", "POP3 cannot move"},
		{"queue", imap + "aliases: [N@example.com]", "is its address already"},
		{"queue", imap + "aliases: [a@example.com, A@example.com]", "stands there twice"},
		{"queue", imap + "aliases: ['Ann <a@example.com>']", "is not an e-mail address"},
		{"forward", "incoming: forward_mailbox", "cannot itself come in by a forward mailbox"},
		{"forward", imap + "accept: none", "nobody's own"},
		{"forward", imap + "user: N", "a forward mailbox belongs to nobody"},
		{"forward", imap + "trust: off; token_suffices: true", "no meaning with trust: off"},
		{"queue", imap + "poll_interval: 10ms", "out of range; write 1s to 168h"},
		{"queue", imap + "priority: high", "must be a whole number"},
		{"queue", imap + "enabled: yes please", "must be true or false"},
		{"queue", imap + "start:", "is empty"},
		{"queue", imap + "folders: []", "names no folder"},
		{"queue", imap + "username: v", "stands here a second time"},
		{"queue", "profile: i; username: 12345; password_file: /x", "write it in quotes"},
	}
	for _, tt := range tests {
		got := in(t, tt.kind, tt.keys)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s {%s}: got %q, want %q", tt.kind, tt.keys, got, tt.want)
		}
	}
}

func TestTwoOfAFileClaimTheSame(t *testing.T) {
	t.Parallel()
	_, err := apply.Load([]string{write(t, "r.yaml", `
profiles:
  - {name: i, protocol: imap, host: Mail.example.com}
  - {name: p, protocol: pop3, host: mail.example.com}
queues:
  - {name: A, address: a@example.com, mailbox: {profile: i, username: box, password_file: /x}}
  - {name: B, address: b@example.com, mailbox: {profile: p, username: BOX, password_file: /x, aliases: [A@example.com]}}
mailboxes:
  - {name: C, queue: A, address: c@example.com, incoming: none}
`)})
	if err == nil || !strings.Contains(err.Error(), `:9: mailboxes[0]: a second mailbox of queue "A"; the first is at`) {
		t.Errorf("got %v, want the second mailbox of A refused", err)
	}
	_, err = apply.Load([]string{write(t, "r.yaml", `
profiles:
  - {name: i, protocol: imap, host: Mail.example.com}
  - {name: p, protocol: pop3, host: mail.example.com}
queues:
  - {name: A, address: a@example.com, mailbox: {profile: i, username: box, password_file: /x}}
  - {name: B, address: b@example.com, mailbox: {profile: p, username: BOX, password_file: /x, aliases: [A@example.com]}}
`)})
	for _, want := range []string{
		`queues[1].mailbox.username: INBOX of mail.example.com/box already belongs to mailbox "A" (`,
		`queues[1].mailbox.aliases: a@example.com already belongs to mailbox "A" (`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// secret is what must not be seen anywhere, whatever key it was written to.
const secret = "hunter2hunter2"

func TestSecretsAreNeverRepeated(t *testing.T) {
	t.Parallel()
	short := write(t, "short", secret)
	for _, keys := range []string{
		"password: " + secret,
		"password: *" + secret,
		"password: {" + secret + ": x}",
		"password_file: " + secret,
		"password_credential: " + secret + "$%",
		"plus_token: " + secret,
		"token: " + secret,
		"plus_token_file: " + secret,
		"plus_token_file: " + short,
		"passwort: " + secret,
		"password: \"" + secret,
	} {
		got := in(t, "user", "profile: i; username: u; "+keys)
		if got == "" || strings.Contains(got, secret) {
			t.Errorf("%s: got %q, want it refused without the secret", keys, got)
		}
	}
	if got := in(t, "user", "profile: i; username: u; password: "+secret); !strings.Contains(got, "password_file: /path or password_credential: name") {
		t.Errorf("got %q, want the way to mend it", got)
	}
}

// A slip is not answered with a key that is refused, and a size means one thing.
func TestWhatIsSuggested(t *testing.T) {
	t.Parallel()
	for keys, want := range map[string]string{
		"profile: i; username: u; passwrod: x":    "did you mean password_file?",
		"incoming: forward_mailbox; plus_tokn: x": "did you mean plus_token_file?",
		"incoming: none; tokens: x":               "did you mean plus_token_file?",
		"incoming: none; something_else: x":       "password_credential, password_file, plus_token_file, poll_interval",
		"incoming: none; name: '17'":              `"17" is a number`,
		"incoming: none; name: 17a":               "",
	} {
		if got := in(t, "user", keys); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", keys, got, want)
		}
	}
	for _, size := range []string{"25MB", "25 GB", "25kB", "25KB"} {
		path := write(t, "p.yaml", "profiles: [{name: i, protocol: imap, host: h, max_octets: "+size+"}]")
		if _, err := apply.Load([]string{path}); err == nil || !strings.Contains(err.Error(), "write a whole number and a unit (B, KiB, MiB, GiB), such as 25MiB") {
			t.Errorf("%s: got %v, want it refused", size, err)
		}
	}
}

func TestTokenFiles(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{
		strings.Repeat("a", 21):                   "too short",
		strings.Repeat("a", 22):                   "",
		strings.Repeat("a", 22) + "+x":            "does not fit",
		strings.Repeat("a", 22) + " b":            "does not fit",
		strings.Repeat("a", 5000):                 "cannot be read",
		"\n" + strings.Repeat("Z9_-", 6) + "\r\n": "",
	} {
		got := in(t, "user", "incoming: forward_mailbox; plus_token_file: "+write(t, "token", token))
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("token of %d characters: got %q, want %q", len(token), got, want)
		}
	}
}

func TestLoadReadsFoldersAndDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), "---\nusers: [{name: A, address: a@example.com}]\n---\nusers: [{name: B, address: b@example.com}]\n---\n")
	write(t, filepath.Join(dir, "a.yml"), "# empty\n")
	write(t, filepath.Join(dir, "notes.txt"), "not: read")
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.Load([]string{dir, filepath.Join(dir, "b.yaml")}); err != nil {
		t.Errorf("got %v, want a folder and one of its files to be read once", err)
	}
	for _, path := range []string{filepath.Join(dir, "gone.yaml"), t.TempDir()} {
		if _, code, _, _ := fault.Describe(second(apply.Load([]string{path}))); code != "records_unreadable" {
			t.Errorf("%s: got code %q, want records_unreadable", path, code)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestBrokenAndHostileFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"users:\n\t- x":          ":2: is not YAML",
		"users: [":               "is not YAML",
		"[1, 2]":                 "must hold keys",
		"users: &a [*a]":         "users[0]",
		"users: {<<: {name: x}}": "must be a list",
		"? [a]\n: b":             "does not begin with a key",
		"users: [{name: !!binary aGk=, address: a@b}]":         "must be a text",
		"users: [{name: \"a\\u0000b\", address: a@b.example}]": "control characters",
	} {
		_, err := apply.Load([]string{write(t, "r.yaml", text)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, name := range []string{"people", "forward", "profiles"} {
		octets, err := os.ReadFile("../../configs/example/" + name + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(octets))
	}
	f.Add("a: &a [*a, *a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := apply.Load([]string{write(t, "r.yaml", text)})
		if (d == nil) == (err == nil) {
			t.Errorf("got %v and %v, want either", d, err)
		}
	})
}
