package apply

import (
	"crypto/sha256"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

// mailbox reads a mailbox: inline below its user or queue, which w then names, or of the list of mailboxes.
func (d *Desired) mailbox(v value, w wantMailbox) {
	inline := w.mailbox.Kind != ""
	m := &w.mailbox
	m.Folders, m.StartKind, m.PollInterval = []string{"INBOX"}, mailbox.StartNow, time.Minute
	m.Disposition, m.DeleteAfter = mailbox.Leave, 24*time.Hour
	m.Trust, m.Accept, m.Enabled = mailbox.Enforce, mailbox.AcceptAll, true
	w.at = v.at

	known := mailboxKeys(&w)
	if !inline {
		known["user"] = func(v value) { w.user = v.name() }
		known["queue"] = func(v value) { w.queue = v.name() }
		known["kind"] = func(v value) { m.Kind = oneOf(v, mailbox.Forward, mailbox.User, mailbox.Queue) }
	}
	w.keys = v.mapping(known)
	if !inline {
		v.need(w.keys, "name", "address")
		w.settleKind(v.problems)
	}
	if m.Incoming == "" && w.profile != "" {
		m.Incoming = mailbox.ServerSide
	}
	c := check{w: &w, problems: v.problems}
	c.incoming()
	c.kind()
	c.disposition()
	_, w.hasEnabled = w.keys["enabled"]
	d.mailboxes = append(d.mailboxes, w)
}

// mailboxKeys is what every mailbox may hold.
func mailboxKeys(w *wantMailbox) keys {
	m := &w.mailbox
	return keys{
		"name":                 func(v value) { m.Name = v.name() },
		"address":              func(v value) { m.Address = v.address() },
		"aliases":              func(v value) { m.Aliases = v.addresses() },
		"incoming":             func(v value) { m.Incoming = oneOf(v, mailbox.ServerSide, mailbox.ForwardMailbox, mailbox.IncomingNone) },
		"profile":              func(v value) { w.profile = v.name() },
		"username":             func(v value) { m.Username = v.str() },
		"password_file":        func(v value) { m.SecretRef = v.secretFile() },
		"password_credential":  func(v value) { m.SecretRef = v.secretCredential() },
		"password":             func(v value) { v.inlineSecret("password_file: /path or password_credential: name") },
		"folders":              func(v value) { m.Folders = v.folders() },
		"start":                func(v value) { m.StartKind, m.StartAt = v.start() },
		"poll_interval":        func(v value) { m.PollInterval = v.duration(time.Second, 7*24*time.Hour) },
		"priority":             func(v value) { m.Priority = v.integer(-10, 10) },
		"disposition":          func(v value) { m.Disposition = oneOf(v, mailbox.Leave, mailbox.Delete, mailbox.Move) },
		"delete_after":         func(v value) { m.DeleteAfter = v.duration(0, 10*365*24*time.Hour) },
		"move_to":              func(v value) { m.MoveTo = v.folder() },
		"undeliverable_folder": func(v value) { m.Undeliverable = v.folder() },
		"delete_ignored":       func(v value) { m.DeleteIgnored = v.boolean() },
		"trust":                func(v value) { m.Trust = oneOf(v, mailbox.Enforce, mailbox.Warn, mailbox.Off) },
		"token_suffices":       func(v value) { m.TokenSuffices = v.boolean() },
		"plus_token_file":      func(v value) { m.PlusTokenDigest = v.token(); w.hasToken = true },
		"plus_token":           func(v value) { v.inlineSecret("plus_token_file: path") },
		"token":                func(v value) { v.inlineSecret("plus_token_file: path") },
		"accept":               func(v value) { m.Accept = oneOf(v, mailbox.AcceptAll, mailbox.AcceptNone) },
		"enabled":              func(v value) { m.Enabled = v.boolean() },
	}
}

// settleKind finds the kind of a mailbox of the list from what it belongs to.
func (w *wantMailbox) settleKind(problems *RecordsError) {
	const mend = "write one of: kind: forward; user: NAME; queue: NAME"
	var kind mailbox.Kind
	switch {
	case w.user != "" && w.queue != "":
		problems.add(w.keys["queue"], "remove one of the two", "a mailbox belongs to a user or to a queue, not to both")
		return
	case w.user != "":
		kind = mailbox.User
	case w.queue != "":
		kind = mailbox.Queue
	case w.mailbox.Kind == mailbox.Forward:
		return
	default:
		problems.add(w.at, mend, "whose mailbox it is, is not said")
		return
	}
	if w.mailbox.Kind == mailbox.Forward {
		problems.add(w.keys["kind"], "remove one of the two", "a forward mailbox belongs to nobody, but user or queue is given")
	} else if w.mailbox.Kind != "" && w.mailbox.Kind != kind {
		problems.add(w.keys["kind"], "remove kind: it follows from user or queue", "does not fit to what the mailbox belongs to")
	}
	w.mailbox.Kind = kind
}

func (v value) addresses() []string {
	var all []string
	v.list(func(entry value) {
		if a := entry.address(); a != "" {
			all = append(all, mailbox.FoldAddress(a))
		}
	})
	slices.Sort(all)
	return all
}

func (v value) secretFile() string {
	if path := v.path(); path != "" {
		return "file:" + path
	}
	return ""
}

func (v value) secretCredential() string {
	s := v.str()
	if s == "" {
		return ""
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$`).MatchString(s) { // not repeated: it may be the password
		v.wrong("write the name of a systemd credential (LoadCredential=): letters, digits, - _ .", "is not the name of a credential")
		return ""
	}
	return "credential:" + s
}

// inlineSecret refuses a secret that stands in the file, without reading it.
func (v value) inlineSecret(instead string) {
	v.wrong("put it into a file that only Postroom may read and write "+instead+"; then change it: it has been in this file",
		"a secret must not stand here")
}

// folder reads a folder's name. INBOX is the same in any case (RFC 3501 section 5.1).
func (v value) folder() string {
	s := v.str()
	if strings.EqualFold(s, "INBOX") {
		return "INBOX"
	}
	return s
}

func (v value) folders() []string {
	all := v.strs()
	for i, f := range all {
		if strings.EqualFold(f, "INBOX") {
			all[i] = "INBOX"
		}
	}
	slices.Sort(all)
	unique := slices.Compact(slices.Clone(all))
	if len(unique) < len(all) {
		v.wrong("remove one of the two", "INBOX stands in the list twice")
	}
	if len(unique) == 0 {
		v.wrong("name a folder, or remove the key for INBOX", "names no folder")
		return []string{"INBOX"}
	}
	return unique
}

func (v value) start() (mailbox.StartKind, time.Time) {
	switch v.node.Value {
	case "now", "all":
		return mailbox.StartKind(v.node.Value), time.Time{}
	}
	t, err := parseDate(v.node.Value)
	if err != nil {
		v.wrong("write now, all, a day (2026-01-31) or an instant (2026-01-31T08:00:00Z)", "is not a start point")
		return mailbox.StartNow, time.Time{}
	}
	return mailbox.StartDate, t
}

// token reads a plus-address token from its file, beside the file that names it unless the path is absolute, and returns
// its sha256. The token itself goes nowhere.
func (v value) token() []byte {
	path := v.str()
	if path == "" {
		return nil
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(v.at.file), path)
	}
	octets, err := readFile(path, tokenOctets)
	if err != nil { // the path is not repeated: it may be the token
		v.wrong("name the file that holds the token, and let this user read it", "the file cannot be read")
		return nil
	}
	token := strings.TrimSpace(string(octets))
	if len(token) < tokenLeast || !regexp.MustCompile(`^[A-Za-z0-9_=.-]+$`).MatchString(token) {
		v.wrong("make a new one of 22 or more letters and digits: `openssl rand -hex 16`",
			"the token in the file is too short or does not fit into an address")
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
