package apply

import (
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/mailbox"
)

// check looks for contradictions within one mailbox.
type check struct {
	w        *wantMailbox
	problems *RecordsError
}

func (c check) wrong(key, mend, format string, args ...any) {
	at, given := c.w.keys[key]
	if !given {
		at = c.w.at
	}
	c.problems.add(at, mend, format, args...)
}

func (c check) given(key string) bool {
	_, ok := c.w.keys[key]
	return ok
}

// only refuses keys that have no meaning here.
func (c check) only(why, mend string, keys ...string) {
	for _, key := range keys {
		if c.given(key) {
			c.wrong(key, mend, "%s", why)
		}
	}
}

// incoming: what is polled needs an account, what is not polled has none.
func (c check) incoming() {
	m := &c.w.mailbox
	switch {
	case m.Incoming == "":
		if !c.given("incoming") {
			c.wrong("incoming", "add profile: NAME to poll it, or incoming: forward_mailbox, or incoming: none", "how its mail comes in is not said")
		}
		return
	case m.Incoming != mailbox.ServerSide:
		c.only("has no meaning: the mailbox is not polled itself (incoming: "+string(m.Incoming)+")", "remove it, or write incoming: server_side",
			"profile", "username", "password_file", "password_credential", "folders", "start", "poll_interval", "priority",
			"disposition", "delete_after", "move_to", "undeliverable_folder", "delete_ignored")
		return
	}
	for _, key := range []string{"profile", "username"} {
		if !c.given(key) {
			c.wrong("incoming", "add "+key, "a mailbox that is polled needs a %s", key)
		}
	}
	switch file, credential := c.given("password_file"), c.given("password_credential"); {
	case file && credential:
		c.wrong("password_credential", "remove one of the two", "the password is named twice, here and by password_file")
	case !file && !credential && !c.given("password"):
		c.wrong("incoming", "add password_file: /path or password_credential: name", "a mailbox that is polled needs a password, by reference")
	}
}

// kind: what belongs to forward mailboxes, users and queues alone.
func (c check) kind() {
	m := &c.w.mailbox
	switch m.Kind {
	case mailbox.Forward:
		c.only("has no meaning for a forward mailbox, which is nobody's own", "remove it", "accept", "plus_token_file", "delete_ignored")
		if m.Incoming == mailbox.ForwardMailbox {
			c.wrong("incoming", "write incoming: server_side", "a forward mailbox cannot itself come in by a forward mailbox")
		}
		if m.TokenSuffices && m.Trust == mailbox.Off {
			c.wrong("token_suffices", "remove one of the two", "has no meaning with trust: off, which asks for nothing")
		}
	case mailbox.User:
		c.only("is a rule of forward mailboxes", "write it to the forward mailbox, or remove it", "trust", "token_suffices")
		c.only("is a rule of queues", "remove it", "delete_ignored")
		if m.Disposition == mailbox.Delete {
			c.wrong("disposition", "write leave or move", "a user's own mail is never deleted")
		}
	case mailbox.Queue:
		c.only("is a rule of forward mailboxes", "write it to the forward mailbox, or remove it", "trust", "token_suffices")
	}
	if len(m.PlusTokenDigest) > 0 && m.Incoming != "" && m.Incoming != mailbox.ForwardMailbox {
		c.wrong("plus_token_file", "write incoming: forward_mailbox, or remove the token", "its mail does not come by a forward mailbox")
	}
	if folded := mailbox.FoldAddress(m.Address); slices.Contains(m.Aliases, folded) && folded != "" {
		c.wrong("aliases", "remove it from the aliases", "%s is its address already", folded)
	}
	for i := range len(m.Aliases) - 1 {
		if m.Aliases[i] == m.Aliases[i+1] {
			c.wrong("aliases", "remove one of the two", "%s stands there twice", m.Aliases[i])
		}
	}
}

// disposition: where mail goes, it must not come from.
func (c check) disposition() {
	m := &c.w.mailbox
	move := m.Disposition == mailbox.Move
	switch {
	case move && m.MoveTo == "" && !c.given("move_to"):
		c.wrong("disposition", "add move_to: FOLDER", "it is not said where mail is moved to")
	case !move && c.given("move_to"):
		c.wrong("move_to", "write disposition: move, or remove it", "has no meaning: mail is not moved")
	}
	if m.Disposition != mailbox.Delete && c.given("delete_after") {
		c.wrong("delete_after", "remove it, or write disposition: delete", "has no meaning: mail is not deleted on the server")
	}
	if m.Disposition == mailbox.Leave && m.DeleteIgnored {
		c.wrong("delete_ignored", "remove it, or write disposition: delete", "has no meaning: mail is left on the server")
	}
	for key, folder := range map[string]string{"move_to": m.MoveTo, "undeliverable_folder": m.Undeliverable} {
		if folder != "" && slices.Contains(m.Folders, folder) {
			c.wrong(key, "name a folder that is not polled", "%s is polled: what is moved there would be read again for ever", quote(folder))
		}
	}
}

// checkPOP3 holds for a mailbox whose profile speaks POP3, which has one maildrop and no folders.
func checkPOP3(w *wantMailbox, problems *RecordsError) {
	const mend = "remove it, or use a profile with protocol: imap"
	m := &w.mailbox
	if !slices.Equal(m.Folders, []string{"INBOX"}) {
		problems.add(w.where("folders"), mend, "POP3 has one maildrop (INBOX) and no folders")
	}
	if m.Disposition == mailbox.Move {
		problems.add(w.where("disposition"), "write leave or delete, or use a profile with protocol: imap", "POP3 cannot move mail")
	}
	if m.Undeliverable != "" {
		problems.add(w.where("undeliverable_folder"), mend, "POP3 cannot move mail")
	}
}

// checkNames: every name of a kind stands once, and a user or queue has one mailbox.
func (d *Desired) checkNames(problems *RecordsError) {
	seen := map[[2]string]place{}
	once := func(kind, name string, at place) {
		if name == "" {
			return
		}
		if first, again := seen[[2]string{kind, name}]; again {
			problems.add(at, "remove one of the two, or give it another name", "a second %s %s; the first is at %s", kind, quote(name), first)
			return
		}
		seen[[2]string{kind, name}] = at
	}
	for i := range d.profiles {
		once("profile", d.profiles[i].profile.Name, d.profiles[i].at)
	}
	for i := range d.users {
		once("user", d.users[i].name, d.users[i].at)
	}
	for i := range d.queues {
		once("queue", d.queues[i].name, d.queues[i].at)
	}
	for i := range d.mailboxes {
		w := &d.mailboxes[i]
		once("mailbox", w.mailbox.Name, w.where("name"))
		if name := w.mailbox.Name; name != "" && strings.Trim(name, "0123456789") == "" {
			problems.add(w.where("name"), "add a letter", "%s is a number, and commands would take it for the id of another mailbox", quote(name))
		}
		once("mailbox of user", w.user, w.at)
		once("mailbox of queue", w.queue, w.at)
	}
}

// checkClaims looks for addresses, folders and tokens that two of the files' mailboxes claim, as far as profiles stand
// in the files. NewPlan does the same with the database's.
func (d *Desired) checkClaims(problems *RecordsError) {
	profiles := map[string]*mailbox.Profile{}
	for i := range d.profiles {
		profiles[d.profiles[i].profile.Name] = &d.profiles[i].profile
	}
	var all []claimant
	for i := range d.mailboxes {
		w := &d.mailboxes[i]
		m := w.mailbox
		m.Profile = profiles[w.profile]
		if m.Profile != nil && m.Profile.Protocol == mailbox.POP3 {
			checkPOP3(w, problems)
		}
		all = append(all, claimant{m: &m, w: w})
	}
	checkClaims(all, problems)
}
