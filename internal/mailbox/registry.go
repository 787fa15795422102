package mailbox

import (
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// Registry finds mailboxes by what a message says of them. It is built once from a list and not changed: any number of
// goroutines may read it.
//
// It never guesses: an address that two mailboxes claim in the same way belongs to neither.
type Registry struct {
	byID      map[int64]*Mailbox
	byAddress map[string]*Mailbox // nil: claimed twice
	byAlias   map[string]*Mailbox // nil: claimed twice
	byToken   map[[32]byte]*Mailbox
}

// NewRegistry returns a Registry of mailboxes. They must not be changed afterwards. Of two with one ID the first counts.
func NewRegistry(mailboxes []*Mailbox) *Registry {
	r := &Registry{
		byID:      make(map[int64]*Mailbox, len(mailboxes)),
		byAddress: make(map[string]*Mailbox, len(mailboxes)),
		byAlias:   make(map[string]*Mailbox),
		byToken:   make(map[[32]byte]*Mailbox),
	}
	for _, m := range mailboxes {
		if m == nil || r.byID[m.ID] != nil {
			continue
		}
		r.byID[m.ID] = m
		claim(r.byAddress, lookupKey(m.Address), m)
		for _, alias := range m.Aliases {
			claim(r.byAlias, lookupKey(alias), m)
		}
		if len(m.PlusTokenDigest) == 32 {
			claim(r.byToken, [32]byte(m.PlusTokenDigest), m)
		}
	}
	return r
}

// claim enters m under key, or nil if another mailbox stands there already.
func claim[K comparable](in map[K]*Mailbox, key K, m *Mailbox) {
	var none K
	if key == none {
		return
	}
	if other, taken := in[key]; taken && other != m {
		m = nil
	}
	in[key] = m
}

// ByID returns the mailbox with this id, or nil.
func (r *Registry) ByID(id int64) *Mailbox { return r.byID[id] }

// ByAddress returns the mailbox whose address or alias addr is, or nil. Its own address goes before another's alias. An
// address with a detail (user+detail@domain, RFC 5233) falls back to the one without.
func (r *Registry) ByAddress(addr string) *Mailbox {
	key := lookupKey(addr)
	if m := r.exactly(key); m != nil {
		return m
	}
	if base, detail := SplitDetail(key); detail != "" {
		return r.exactly(base)
	}
	return nil
}

func (r *Registry) exactly(key string) *Mailbox {
	if m, ok := r.byAddress[key]; ok {
		return m
	}
	return r.byAlias[key]
}

// ByTokenDigest returns the mailbox whose secret plus-address token has this sha256, or nil. Digests are compared, never
// tokens, so that the time it takes says nothing about a token.
func (r *Registry) ByTokenDigest(digest [32]byte) *Mailbox { return r.byToken[digest] }

// HasAddress reports whether addr is the mailbox's address or one of its aliases, exactly: no detail is removed.
func (m *Mailbox) HasAddress(addr string) bool {
	key := lookupKey(addr)
	if key == "" {
		return false
	}
	return lookupKey(m.Address) == key ||
		slices.ContainsFunc(m.Aliases, func(alias string) bool { return lookupKey(alias) == key })
}

// FoldAddress returns addr in the form in which addresses are stored and compared: without white space around it, A-Z in
// lower case. Local parts are folded too: no server in use tells them apart by case. Other letters stay as they are,
// since full case folding makes different addresses one (U+212A KELVIN SIGN and k).
func FoldAddress(addr string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + ('a' - 'A')
		}
		return c
	}, strings.TrimSpace(addr))
}

// SplitDetail splits user+detail@domain (RFC 5233) into user@domain and detail. Without a detail it returns addr and "".
func SplitDetail(addr string) (base, detail string) {
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return addr, ""
	}
	user, detail, found := strings.Cut(addr[:at], "+")
	if !found || user == "" || detail == "" {
		return addr, ""
	}
	return user + addr[at:], detail
}

// lookupKey is FoldAddress with the domain in its ASCII form (RFC 5890), so that both spellings of it are one.
func lookupKey(addr string) string {
	addr = FoldAddress(addr)
	at := strings.LastIndexByte(addr, '@')
	if at <= 0 || at == len(addr)-1 {
		return ""
	}
	domain := strings.TrimSuffix(addr[at+1:], ".")
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		domain = ascii
	}
	return addr[:at+1] + domain
}
