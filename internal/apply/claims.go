package apply

import (
	"fmt"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

// claimant is a mailbox as it shall be, with the file's record if it stands in one.
type claimant struct {
	m *mailbox.Mailbox
	w *wantMailbox // nil: it stands in the database alone
}

func (c claimant) String() string {
	if c.w == nil {
		return fmt.Sprintf("mailbox %q of the database", c.m.Name)
	}
	return fmt.Sprintf("mailbox %q (%s)", c.m.Name, c.w.at)
}

// checkClaims refuses what two mailboxes claim: an address, a folder of an account, a plus-address token. The problem
// stands with the later one of the files' and names the other.
func checkClaims(all []claimant, problems *RecordsError) {
	owner := map[string]claimant{}
	claim := func(c claimant, what, key, mend, format string, args ...any) {
		other, taken := owner[what]
		switch {
		case !taken:
			owner[what] = c
		case other.m == c.m:
		case c.w != nil:
			problems.add(c.w.where(key), mend, "%s already belongs to %s", fmt.Sprintf(format, args...), other)
		case other.w != nil:
			problems.add(other.w.where(key), mend, "%s already belongs to %s", fmt.Sprintf(format, args...), c)
		}
	}
	for _, c := range all {
		claim(c, "address "+mailbox.FoldAddress(c.m.Address), "address", "give each mailbox addresses of its own", "%s", c.m.Address)
		for _, alias := range c.m.Aliases {
			claim(c, "address "+mailbox.FoldAddress(alias), "aliases", "give each mailbox addresses of its own", "%s", alias)
		}
		if account := store.Account(c.m); account != "" {
			for _, folder := range c.m.Folders {
				claim(c, "folder "+account+"\x00"+folder, "username",
					"let one mailbox watch it: mail would be recorded for the one that is faster", "%s of %s", folder, account)
			}
		}
		if len(c.m.PlusTokenDigest) > 0 {
			claim(c, "token "+string(c.m.PlusTokenDigest), "plus_token_file", "make a token for each mailbox", "this token")
		}
	}
}
