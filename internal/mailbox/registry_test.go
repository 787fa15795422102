package mailbox

import (
	"crypto/sha256"
	"testing"
)

func registryOf(t *testing.T) *Registry {
	t.Helper()
	digest := sha256.Sum256([]byte("secret"))
	return NewRegistry([]*Mailbox{
		{ID: 1, Name: "alice", Address: "Alice@Corp.Example", Aliases: []string{"a.lice@corp.example", "shared@corp.example"}, PlusTokenDigest: digest[:]},
		{ID: 2, Name: "bob", Address: "bob@corp.example", Aliases: []string{"shared@corp.example", "carol@corp.example"}},
		{ID: 3, Name: "carol", Address: "carol@corp.example"},
		{ID: 4, Name: "idn", Address: "rene@bücher.example"},
		{ID: 5, Name: "plus", Address: "sales+eu@corp.example"},
		{ID: 6, Name: "no address"},
		nil,
		{ID: 1, Name: "second with the id of alice", Address: "other@corp.example"},
	})
}

func TestRegistryByAddress(t *testing.T) {
	t.Parallel()
	r := registryOf(t)
	tests := []struct {
		name, addr, want string
	}{
		{"as written", "Alice@Corp.Example", "alice"},
		{"folded", "alice@corp.example", "alice"},
		{"white space around it", " \talice@corp.example\r\n", "alice"},
		{"alias", "A.LICE@corp.example", "alice"},
		{"detail", "alice+invoices@corp.example", "alice"},
		{"detail with a plus", "alice+a+b@corp.example", "alice"},
		{"detail of an alias", "a.lice+x@corp.example", "alice"},
		{"alias that two claim belongs to neither", "shared@corp.example", ""},
		{"an address goes before another's alias", "carol@corp.example", "carol"},
		{"domain in Unicode", "rene@bücher.example", "idn"},
		{"domain in ASCII", "rene@xn--bcher-kva.example", "idn"},
		{"domain in capitals", "rene@BÜCHER.example", "idn"},
		{"dot after the domain", "bob@corp.example.", "bob"},
		{"registered with a detail", "sales+eu@corp.example", "plus"},
		{"another detail than the registered one", "sales+us@corp.example", ""},
		{"unknown", "mallory@corp.example", ""},
		{"other domain", "alice@corp.example.evil.example", ""},
		{"subdomain", "alice@mail.corp.example", ""},
		{"Kelvin sign is not k", "bo\u212Ab@corp.example", ""},
		{"empty", "", ""},
		{"no domain", "alice", ""},
		{"no local part", "@corp.example", ""},
		{"only a detail", "+alice@corp.example", ""},
		{"empty detail", "alice+@corp.example", ""},
		{"of a mailbox whose id came twice", "other@corp.example", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if m := r.ByAddress(tt.addr); m != nil {
				got = m.Name
			}
			if got != tt.want {
				t.Errorf("ByAddress(%q) = %q, want %q", tt.addr, got, tt.want)
			}
		})
	}
}

func TestRegistryByTokenDigest(t *testing.T) {
	t.Parallel()
	r := registryOf(t)
	if m := r.ByTokenDigest(sha256.Sum256([]byte("secret"))); m == nil || m.ID != 1 {
		t.Errorf("ByTokenDigest of alice's token = %v, want alice", m)
	}
	if m := r.ByTokenDigest(sha256.Sum256([]byte("Secret"))); m != nil {
		t.Errorf("ByTokenDigest of another token = %v, want nil", m)
	}
	if m := r.ByTokenDigest([32]byte{}); m != nil {
		t.Errorf("ByTokenDigest of zeros = %v, want nil: mailboxes without a token have none", m)
	}
}

func TestRegistryByID(t *testing.T) {
	t.Parallel()
	r := registryOf(t)
	if m := r.ByID(1); m == nil || m.Name != "alice" {
		t.Errorf("ByID(1) = %v, want alice", m)
	}
	if m := r.ByID(99); m != nil {
		t.Errorf("ByID(99) = %v, want nil", m)
	}
}

func TestRegistryTokenOfTwo(t *testing.T) {
	t.Parallel()
	digest := sha256.Sum256([]byte("same"))
	r := NewRegistry([]*Mailbox{
		{ID: 1, Address: "a@corp.example", PlusTokenDigest: digest[:]},
		{ID: 2, Address: "b@corp.example", PlusTokenDigest: digest[:]},
		{ID: 3, Address: "c@corp.example", PlusTokenDigest: []byte("too short")},
	})
	if m := r.ByTokenDigest(digest); m != nil {
		t.Errorf("ByTokenDigest of a token that two have = mailbox %d, want nil", m.ID)
	}
}

func TestHasAddress(t *testing.T) {
	t.Parallel()
	m := &Mailbox{Address: "Alice@Corp.Example", Aliases: []string{"al@corp.example"}}
	for addr, want := range map[string]bool{
		"alice@corp.example":   true,
		"AL@corp.example":      true,
		"alice+x@corp.example": false,
		"bob@corp.example":     false,
		"":                     false,
		"alice":                false,
	} {
		if got := m.HasAddress(addr); got != want {
			t.Errorf("HasAddress(%q) = %v, want %v", addr, got, want)
		}
	}
	if (&Mailbox{}).HasAddress("") {
		t.Error("a mailbox without an address has the address \"\", want not")
	}
}

func TestFoldAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, want string }{
		{" A@B.Example\n", "a@b.example"},
		{"ÄRGER@x.example", "Ärger@x.example"},
		{"\u212A@x", "\u212A@x"},
		{"", ""},
	} {
		if got := FoldAddress(tt.in); got != tt.want {
			t.Errorf("FoldAddress(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestSplitDetail(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ in, base, detail string }{
		{"a+b@c", "a@c", "b"},
		{"a+b+c@d", "a@d", "b+c"},
		{"a@b+c", "a@b+c", ""},
		{"a@b", "a@b", ""},
		{"+a@b", "+a@b", ""},
		{"a+@b", "a+@b", ""},
		{"a+b", "a+b", ""},
	} {
		if base, detail := SplitDetail(tt.in); base != tt.base || detail != tt.detail {
			t.Errorf("SplitDetail(%q) = %q, %q, want %q, %q", tt.in, base, detail, tt.base, tt.detail)
		}
	}
}
