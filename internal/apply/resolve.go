package apply

import (
	"time"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

// step is one record as it is and as it shall be. Its pointers are shared between records, so that an id that is given
// while writing is known to those that refer to it.
type step[T any] struct {
	old, now *T // old nil: it is to be created
	at       place
}

// target is the database as it shall be.
type target struct {
	profiles  []step[mailbox.Profile]
	users     []step[store.User]
	queues    []queueStep
	mailboxes []mailboxStep
	rest      []*mailbox.Mailbox // mailboxes that no file names
	moved     map[*mailbox.Profile]bool

	problems RecordsError
}

type queueStep struct {
	step[store.Queue]
	owner              *store.User // nil: nobody
	oldOwner, ownerNow string
}

type mailboxStep struct {
	step[mailbox.Mailbox]
	want  *wantMailbox
	user  *store.User
	queue *store.Queue
}

// resolve puts what the files say over what is there.
func resolve(records *store.Records, d *Desired) (*target, error) {
	t := &target{moved: map[*mailbox.Profile]bool{}}
	profiles := t.putProfiles(records, d)
	users := t.putUsers(records, d)
	queues := t.putQueues(records, d, users)
	t.putMailboxes(records, d, profiles, users, queues)
	if err := t.problems.err(); err != nil {
		return nil, err
	}
	var all []claimant
	for _, m := range t.rest {
		all = append(all, claimant{m: m})
	}
	for i := range t.mailboxes {
		all = append(all, claimant{m: t.mailboxes[i].now, w: t.mailboxes[i].want})
	}
	checkClaims(all, &t.problems)
	return t, t.problems.err()
}

func (t *target) putProfiles(records *store.Records, d *Desired) map[string]*mailbox.Profile {
	all := map[string]*mailbox.Profile{}
	for _, p := range records.Profiles {
		all[p.Name] = p
	}
	for i := range d.profiles {
		now := d.profiles[i].profile
		old := all[now.Name]
		if old != nil {
			now.ID = old.ID
			t.moved[&now] = old.Host != now.Host
		}
		all[now.Name] = &now
		t.profiles = append(t.profiles, step[mailbox.Profile]{old: old, now: &now, at: d.profiles[i].at})
	}
	return all
}

func (t *target) putUsers(records *store.Records, d *Desired) map[string]*store.User {
	all := map[string]*store.User{}
	for i := range records.Users {
		all[records.Users[i].Name] = &records.Users[i]
	}
	for _, want := range d.users {
		now := store.User{Name: want.name, Address: want.address}
		old := all[now.Name]
		if old != nil {
			now.ID = old.ID
		}
		all[now.Name] = &now
		t.users = append(t.users, step[store.User]{old: old, now: &now, at: want.at})
	}
	return all
}

func (t *target) putQueues(records *store.Records, d *Desired, users map[string]*store.User) map[string]*store.Queue {
	all := map[string]*store.Queue{}
	for i := range records.Queues {
		all[records.Queues[i].Name] = &records.Queues[i]
	}
	for _, want := range d.queues {
		now := store.Queue{Name: want.name, Address: want.address}
		s := queueStep{step: step[store.Queue]{old: all[now.Name], now: &now, at: want.at}, ownerNow: want.owner}
		if s.old != nil {
			now.ID = s.old.ID
			for _, u := range records.Users {
				if u.ID == s.old.OwnerID {
					s.oldOwner = u.Name
				}
			}
		}
		if want.owner != "" {
			if s.owner = users[want.owner]; s.owner == nil {
				t.problems.add(want.ownerAt, "add the user, or mend the name", "there is no user %s", quote(want.owner))
			}
		}
		all[now.Name] = &now
		t.queues = append(t.queues, s)
	}
	return all
}

func (t *target) putMailboxes(records *store.Records, d *Desired, profiles map[string]*mailbox.Profile,
	users map[string]*store.User, queues map[string]*store.Queue,
) {
	matched := map[int64]bool{}
	for i := range d.mailboxes {
		w := &d.mailboxes[i]
		now := w.mailbox
		s := mailboxStep{step: step[mailbox.Mailbox]{now: &now, at: w.at}, want: w, user: users[w.user], queue: queues[w.queue]}
		if w.user != "" && s.user == nil {
			t.problems.add(w.where("user"), "add the user, or mend the name", "there is no user %s", quote(w.user))
		}
		if w.queue != "" && s.queue == nil {
			t.problems.add(w.where("queue"), "add the queue, or mend the name", "there is no queue %s", quote(w.queue))
		}
		if s.old = s.find(records.Mailboxes); s.old != nil {
			s.keep()
			matched[s.old.ID] = true
		}
		if w.profile != "" {
			if now.Profile = profiles[w.profile]; now.Profile == nil {
				t.problems.add(w.where("profile"), "add the profile, or mend the name", "there is no profile %s", quote(w.profile))
			} else if now.Profile.Protocol == mailbox.POP3 {
				checkPOP3(w, &t.problems)
			}
		}
		t.mailboxes = append(t.mailboxes, s)
	}
	for _, m := range records.Mailboxes {
		if matched[m.ID] {
			continue
		}
		if m.Profile != nil {
			rest := *m
			rest.Profile = profiles[m.Profile.Name]
			m = &rest
		}
		t.rest = append(t.rest, m)
	}
	t.checkTaken()
}

// find returns the mailbox that is there already: that of the same user or queue, or the forward mailbox of that name.
func (s *mailboxStep) find(all []*mailbox.Mailbox) *mailbox.Mailbox {
	for _, m := range all {
		switch {
		case m.Kind != s.now.Kind:
		case m.Kind == mailbox.User && s.user != nil && s.user.ID != 0 && m.RegardingID == s.user.ID,
			m.Kind == mailbox.Queue && s.queue != nil && s.queue.ID != 0 && m.RegardingID == s.queue.ID,
			m.Kind == mailbox.Forward && m.Name == s.now.Name:
			return m
		}
	}
	return nil
}

// keep takes over what stays as it is when a file does not say it.
func (s *mailboxStep) keep() {
	s.now.ID, s.now.EnabledAt = s.old.ID, s.old.EnabledAt
	if !s.want.hasEnabled {
		s.now.Enabled = s.old.Enabled
	}
	if !s.want.hasToken && s.now.Incoming == mailbox.ForwardMailbox {
		s.now.PlusTokenDigest = s.old.PlusTokenDigest
	}
}

// checkTaken refuses names that mailboxes of the database have which no file names.
func (t *target) checkTaken() {
	for i := range t.mailboxes {
		for _, m := range t.rest {
			if m.Name == t.mailboxes[i].now.Name {
				t.problems.add(t.mailboxes[i].want.where("name"), "give the mailbox another name",
					"the name %s already belongs to a %s mailbox of the database", quote(m.Name), m.Kind)
			}
		}
	}
}

// changes returns what differs, in the order in which it is written.
func (t *target) changes() []Change {
	var all []Change
	add := func(kind, name string, isNew bool, before, now []pair, notes ...string) {
		c := Change{Kind: kind, Name: name, Action: Update, Notes: notes}
		if isNew {
			c.Action, c.Fields = Create, created(now, before)
		} else if c.Fields = changed(before, now); len(c.Fields) == 0 {
			return
		}
		all = append(all, c)
	}
	for _, s := range t.profiles {
		before := profilePairs(s.old)
		if s.old == nil {
			before = profilePairs(&mailbox.Profile{
				Port: defaultPort(s.now.Protocol, s.now.TLS), TLS: mailbox.ImplicitTLS, MaxConnections: 10,
				Timeout: time.Minute, PollTimeout: 15 * time.Minute, MaxOctets: 50 << 20,
			})
		}
		var notes []string
		if s.now.TLS == mailbox.Plaintext {
			notes = append(notes, "tls: plaintext shows passwords and mail to everyone on the way")
		}
		add("profile", s.now.Name, s.old == nil, before, profilePairs(s.now), notes...)
	}
	for _, s := range t.users {
		before := userPairs(s.old)
		if s.old == nil {
			before = userPairs(&store.User{})
		}
		add("user", s.now.Name, s.old == nil, before, userPairs(s.now))
	}
	for _, s := range t.queues {
		before := queuePairs(s.old, s.oldOwner)
		if s.old == nil {
			before = queuePairs(&store.Queue{}, "")
		}
		add("queue", s.now.Name, s.old == nil, before, queuePairs(s.now, s.ownerNow))
	}
	for i := range t.mailboxes {
		s := &t.mailboxes[i]
		before := mailboxPairs(s.old)
		if s.old == nil {
			before = mailboxPairs(&mailbox.Mailbox{
				Name: s.now.Name, Folders: []string{"INBOX"}, StartKind: mailbox.StartNow, PollInterval: time.Minute,
				Disposition: mailbox.Leave, DeleteAfter: 24 * time.Hour, Trust: mailbox.Enforce, Accept: mailbox.AcceptAll, Enabled: true,
			})
		}
		add("mailbox", s.now.Name, s.old == nil, before, mailboxPairs(s.now), s.notes()...)
	}
	return all
}

// notes returns what an admin should know before the change is made.
func (s *mailboxStep) notes() []string {
	var notes []string
	if s.now.Kind == mailbox.Forward && s.now.Trust == mailbox.Off {
		notes = append(notes, "trust: off lets everyone who can mail this address write records")
	}
	if s.old == nil {
		return notes
	}
	if startText(s.old) != startText(s.now) && s.old.Incoming == mailbox.ServerSide {
		notes = append(notes, "start counts for folders that were never listed; the others go on where they are")
	}
	return notes
}
