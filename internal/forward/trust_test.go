package forward

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/eml"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/trace"
)

const (
	token    = "k3q7w2z9x8c4v6b1n5m0k3q7w2"
	received = "Received: from mail.corp.example (mail.corp.example [192.0.2.1]) by mx.corp.example (Postfix) with ESMTPS id 1 for <forward@corp.example>; Mon, 2 Nov 2026 10:00:05 +0000"
	pass     = "Authentication-Results: mx.corp.example; spf=pass smtp.mailfrom=corp.example; dkim=pass header.d=corp.example; dmarc=pass header.from=corp.example"
	fromHer  = "From: Alice <alice@corp.example>"
	internal = "X-MS-Exchange-Organization-AuthAs: Internal"
)

// people returns a registry with alice, bob, a queue that is polled itself, and a forward mailbox.
func people(t *testing.T) *mailbox.Registry {
	t.Helper()
	digest := sha256.Sum256([]byte(token))
	return mailbox.NewRegistry([]*mailbox.Mailbox{
		{ID: 1, Kind: mailbox.User, Address: "alice@corp.example", Aliases: []string{"a@corp.example", "alice@mail.corp.example"}, Incoming: mailbox.ForwardMailbox, PlusTokenDigest: digest[:]},
		{ID: 2, Kind: mailbox.User, Address: "bob@corp.example", Incoming: mailbox.ForwardMailbox},
		{ID: 3, Kind: mailbox.Queue, Address: "sales@corp.example", Incoming: mailbox.ServerSide},
		{ID: 4, Kind: mailbox.User, Address: "carol@freemail.example", Incoming: mailbox.ForwardMailbox},
		{ID: 9, Kind: mailbox.Forward, Address: "forward@corp.example", Incoming: mailbox.ServerSide},
	})
}

func forwardMailbox(policy mailbox.TrustPolicy) *mailbox.Mailbox {
	return &mailbox.Mailbox{ID: 9, Kind: mailbox.Forward, Trust: policy, Profile: &mailbox.Profile{
		AuthservID: "mx.corp.example", MXHosts: []string{"mx.corp.example", "mx2.corp.example"},
	}}
}

// outer returns a wrapper with these header fields, in their order, around a customer's mail to alice.
func outer(fields ...string) *eml.Message {
	octets := strings.Join(fields, "\r\n") + "\r\n" + nest("mixed", "outer", note, "Content-Type: message/rfc822\r\n\r\n"+toAlice)
	return eml.Read([]byte(octets), eml.DefaultLimits())
}

const toAlice = pass + "\r\nDelivered-To: alice@corp.example\r\nFrom: customer@client.example\r\nTo: alice@corp.example\r\nDate: Tue, 1 Jan 2019 10:00:00 +0000\r\nSubject: We agreed\r\n\r\nyes\r\n"

func original(t *testing.T, octets string) *eml.Message {
	t.Helper()
	return eml.Read([]byte(octets), eml.DefaultLimits())
}

// judge attributes and judges one wrapper.
func judge(t *testing.T, m *eml.Message, forward *mailbox.Mailbox) (Attribution, Verdict) {
	t.Helper()
	a := Attribute(m, original(t, toAlice), people(t), forward)
	v := Trust(m, forward, a)
	for _, s := range append(append(trace.Trace{}, a.Trace...), v.Trace...) {
		if !trace.Known(s.Code) {
			t.Errorf("code %q is not in the list", s.Code)
		}
		if strings.Contains(s.Text(), "{") || strings.Contains(s.Text(), token) {
			t.Errorf("step %q lacks an argument or shows the token", s.Text())
		}
	}
	return a, v
}

// TestGenuine wants what our own servers vouch for trusted under enforce, and by the right method.
func TestGenuine(t *testing.T) {
	t.Parallel()
	delivered := "Delivered-To: forward+" + token + "@corp.example"
	tests := []struct {
		name   string
		change func(*mailbox.Mailbox)
		fields []string
		want   Method
	}{
		{"results above our Received", nil, []string{pass, received, fromHer}, ByResults},
		{"below the store's Received, above the exchanger's", nil, []string{"Received: from mx.corp.example by store.corp.example with LMTP", pass, received, fromHer}, ByResults},
		{"DMARC alone", nil, []string{"Authentication-Results: mx.corp.example; dmarc=pass", received, fromHer}, ByResults},
		{"DKIM alone", nil, []string{"Authentication-Results: mx.corp.example; dkim=pass header.d=corp.example", received, fromHer}, ByResults},
		{"DKIM of a subdomain", nil, []string{"Authentication-Results: mx.corp.example; dkim=pass header.d=relay.corp.example", received, fromHer}, ByResults},
		{"DKIM of the domain above", nil, []string{"Authentication-Results: mx.corp.example; dkim=pass header.d=corp.example", received, "From: alice@mail.corp.example"}, ByResults},
		{"DKIM by identity", nil, []string{"Authentication-Results: mx.corp.example; dkim=pass header.i=@corp.example", received, fromHer}, ByResults},
		{"DKIM, second signature", nil, []string{"Authentication-Results: mx.corp.example; dkim=fail header.d=corp.example; dkim=pass header.d=corp.example", received, fromHer}, ByResults},
		{"comments, folding, version, capitals", nil, []string{"authentication-results: (our) MX.Corp.Example 1;\r\n\tdkim=pass (2048-bit key; \"x\") header.d=Corp.Example;\r\n\tDMARC=Pass (p=none (dis=none)) header.from=CORP.example", received, fromHer}, ByResults},
		{"another server's results above", nil, []string{"Authentication-Results: filter.corp.example; dmarc=fail", pass, received, fromHer}, ByResults},
		{"alias", nil, []string{pass, received, "From: A@Corp.Example"}, ByResults},
		{"no mx_hosts: above every Received", func(m *mailbox.Mailbox) { m.Profile.MXHosts = nil }, []string{pass, received, fromHer}, ByResults},
		{"Exchange", func(m *mailbox.Mailbox) { m.Profile.Exchange = true }, []string{received, fromHer, internal}, ByExchange},
		{"Exchange, sender not registered", func(m *mailbox.Mailbox) { m.Profile.Exchange = true }, []string{delivered, received, "From: rules@corp.example", internal}, ByExchange},
		{"token that suffices", func(m *mailbox.Mailbox) { m.TokenSuffices = true }, []string{delivered, received, fromHer}, ByToken},
		{"token in Received", func(m *mailbox.Mailbox) { m.TokenSuffices = true }, []string{strings.Replace(received, "forward@", "forward+"+token+"@", 1), "From: a@b.example"}, ByToken},
		{"token, folded on the way", func(m *mailbox.Mailbox) { m.TokenSuffices = true }, []string{"X-Original-To: FORWARD+" + strings.ToUpper(token) + "@corp.example", received, fromHer}, ByToken},
		{"token and results", nil, []string{delivered, pass, received, fromHer}, ByResults},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, policy := range []mailbox.TrustPolicy{mailbox.Enforce, mailbox.Warn, ""} {
				forward := forwardMailbox(policy)
				if tt.change != nil {
					tt.change(forward)
				}
				a, v := judge(t, outer(tt.fields...), forward)
				if a.Recipient == nil || a.Recipient.ID != 1 || a.Reason != "" {
					t.Errorf("recipient %v, reason %q, want alice", a.Recipient, a.Reason)
				}
				if !v.Trusted || !v.Authenticated || v.Method != tt.want || v.Reason != "" {
					t.Errorf("policy %q: got %+v, want trusted by %s", policy, v, tt.want)
				}
			}
		})
	}
}

// attack is a wrapper that a stranger sends.
type attack struct {
	name   string
	change func(*mailbox.Mailbox)
	fields []string
}

func attacks() []attack {
	exchange := func(m *mailbox.Mailbox) { m.Profile.Exchange = true }
	noHosts := func(m *mailbox.Mailbox) { m.Profile.MXHosts = nil }
	forged := strings.Replace(received, "mail.corp.example", "evil.example", 1)
	results := func(rest string) string { return "Authentication-Results: mx.corp.example; " + rest }
	return []attack{
		{"From alone", nil, []string{received, fromHer}},
		{"all of Exchange's fields", nil, []string{received, fromHer, internal, "X-MS-Exchange-Organization-AutoForwarded: true", "X-MS-Exchange-Inbox-Rules-Loop: alice@corp.example", "auto-submitted: auto-generated", "x-ms-exchange-generated-message-source: Mailbox Rules Agent"}},
		{"the sending tenant's stamp", exchange, []string{received, fromHer, "X-MS-Exchange-CrossTenant-AuthAs: Internal", "X-MS-Exchange-Organization-AuthAs: Anonymous"}},
		{"stamp beside the genuine one", exchange, []string{received, internal, fromHer, "X-MS-Exchange-Organization-AuthAs: Anonymous"}},
		{"stamp after the genuine one", exchange, []string{received, "X-MS-Exchange-Organization-AuthAs: Anonymous", fromHer, internal}},
		{"stamp with a space before the colon", exchange, []string{received, fromHer, "X-MS-Exchange-Organization-AuthAs : Internal"}},
		{"stamp that says more", exchange, []string{received, fromHer, internal + "ized"}},
		{"results below our Received", nil, []string{received, pass, fromHer}},
		{"results below, ours above say fail", nil, []string{results("dmarc=fail header.from=corp.example"), received, pass, fromHer}},
		{"results below, ours above say nothing", nil, []string{results("none"), received, pass, fromHer}},
		{"results between a forged Received and ours", nil, []string{received, pass, forged, fromHer}},
		{"results, no Received at all", nil, []string{pass, fromHer}},
		{"results, only another's Received", nil, []string{pass, "Received: from a by evil.example", fromHer}},
		{"a name that hides who wrote Received", nil, []string{"Received: from x by evil.example (evil.example [198.51.100.1]) by mx.corp.example (Postfix); Mon, 2 Nov 2026 10:00:05 +0000", pass, received, fromHer}},
		{"no mx_hosts, results below", noHosts, []string{received, pass, fromHer}},
		{"results of another server", nil, []string{"Authentication-Results: mx.corp.example.evil.example; dmarc=pass header.from=corp.example", received, fromHer}},
		{"results without a server", nil, []string{"Authentication-Results: spf=pass (sender IP is 192.0.2.1); dmarc=pass header.from=corp.example", received, fromHer}},
		{"pass in a comment", nil, []string{results("spf=fail (helo x; dmarc=pass header.from=corp.example) smtp.helo=x; dmarc=fail"), received, fromHer}},
		{"pass in a comment alone", nil, []string{results("spf=fail (helo (x); dmarc=pass header.from=corp.example)"), received, fromHer}},
		{"pass in a quoted string", nil, []string{results(`spf=fail smtp.mailfrom="x; dmarc=pass header.from=corp.example"`), received, fromHer}},
		{"pass after a quoted quote", nil, []string{results(`spf=fail smtp.mailfrom="x\"; dmarc=pass header.from=corp.example"`), received, fromHer}},
		{"comment that does not end", nil, []string{results(`spf=fail (x; dmarc=pass header.from=corp.example`), received, fromHer}},
		{"pass and fail", nil, []string{results("dmarc=pass header.from=corp.example; dmarc=fail header.from=corp.example"), received, fromHer}},
		{"DMARC of another domain", nil, []string{results("dmarc=pass header.from=evil.example"), received, fromHer}},
		{"SPF alone", nil, []string{results("spf=pass smtp.mailfrom=corp.example"), received, fromHer}},
		{"DKIM of another domain", nil, []string{results("dkim=pass header.d=evil.example"), received, fromHer}},
		{"DKIM of a domain that ends alike", nil, []string{results("dkim=pass header.d=evilcorp.example"), received, fromHer}},
		{"DKIM of the domain as a label", nil, []string{results("dkim=pass header.d=corp.example.evil.example"), received, fromHer}},
		{"DKIM of the registry above", nil, []string{results("dkim=pass header.d=example"), received, fromHer}},
		{"DKIM aligned, DMARC fails", nil, []string{results("dkim=pass header.d=evil.corp.example; dmarc=fail header.from=corp.example"), received, fromHer}},
		{"own domain passes, mail to alice inside", nil, []string{results("dmarc=pass header.from=evil.example"), received, "From: mallory@evil.example"}},
		{"own account at a freemailer", nil, []string{results("dmarc=pass header.from=freemail.example"), received, "From: mallory@freemail.example"}},
		{"two From fields", nil, []string{results("dmarc=pass header.from=corp.example"), received, fromHer, "From: mallory@evil.example"}},
		{"two addresses in From", nil, []string{pass, received, "From: alice@corp.example, mallory@evil.example"}},
		{"address as a name", nil, []string{results("dmarc=pass header.from=evil.example"), received, `From: "alice@corp.example" <mallory@evil.example>`}},
		{"results inside the original", nil, []string{received, fromHer}},
		{"ARC", nil, []string{"ARC-Authentication-Results: i=1; mx.corp.example; dmarc=pass header.from=corp.example", received, fromHer}},
		{"token, without token_suffices", nil, []string{"Delivered-To: forward+" + token + "@corp.example", received, fromHer}},
		{"wrong token", func(m *mailbox.Mailbox) { m.TokenSuffices = true }, []string{"Delivered-To: forward+guess@corp.example", received, fromHer}},
		{"token's digest as a token", func(m *mailbox.Mailbox) { m.TokenSuffices = true }, []string{"Delivered-To: forward+0000@corp.example", received, fromHer}},
		{"no authserv_id configured", func(m *mailbox.Mailbox) { m.Profile.AuthservID = "" }, []string{pass, "Authentication-Results: ; dmarc=pass header.from=corp.example", received, fromHer}},
		{"no profile", func(m *mailbox.Mailbox) { m.Profile = nil }, []string{pass, internal, received, fromHer}},
		{"more fields than are read", exchange, append([]string{pass, received, fromHer, internal}, make5001()...)},
	}
}

func make5001() []string {
	fields := make([]string, 5001)
	for i := range fields {
		fields[i] = "X-Filler: 1"
	}
	return fields
}

// TestAttacks wants no stranger's wrapper authenticated, whatever the policy, and none accepted under enforce.
func TestAttacks(t *testing.T) {
	t.Parallel()
	for _, tt := range attacks() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := outer(tt.fields...)
			for _, want := range []struct {
				policy  mailbox.TrustPolicy
				trusted bool
				method  Method
				reason  receipt.Reason
			}{
				{mailbox.Enforce, false, "", receipt.Untrusted},
				{"", false, "", receipt.Untrusted},
				{mailbox.Warn, true, ByWarn, ""},
				{mailbox.Off, true, ByOff, ""},
			} {
				forward := forwardMailbox(want.policy)
				if tt.change != nil {
					tt.change(forward)
				}
				_, v := judge(t, m, forward)
				if v.Trusted != want.trusted || v.Authenticated || v.Method != want.method || v.Reason != want.reason {
					t.Errorf("policy %q: got trusted %v authenticated %v method %q reason %q, want %v false %q %q; %v",
						want.policy, v.Trusted, v.Authenticated, v.Method, v.Reason, want.trusted, want.method, want.reason, v.Trace)
				}
			}
		})
	}
}

// TestAligned wants public suffixes told from organisations.
func TestAligned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"corp.example", "corp.example", true},
		{"CORP.example.", "corp.example", true},
		{"a.corp.co.uk", "b.corp.co.uk", true},
		{"evil.co.uk", "corp.co.uk", false},
		{"co.uk", "corp.co.uk", false},
		{"evil.github.io", "corp.github.io", false},
		{"", "", false},
		{"", "corp.example", false},
	} {
		if got := aligned(tt.a, tt.b); got != tt.want {
			t.Errorf("aligned(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

// FuzzResults wants no pass from what stands in comments and quoted strings only, and no panic.
func FuzzResults(f *testing.F) {
	for _, a := range attacks() {
		for _, field := range a.fields {
			if value, ok := strings.CutPrefix(field, "Authentication-Results: "); ok {
				f.Add(value)
			}
		}
	}
	f.Fuzz(func(t *testing.T, hostile string) {
		passes(hostile, "corp.example")
		safe := strings.NewReplacer("(", "", ")", "", `\`, "", `"`, "").Replace(hostile)
		for _, value := range []string{"mx; spf=fail (" + safe + ") x=y", `mx; spf=fail smtp.mailfrom="` + safe + `"`} {
			plain, ok := plainResults(value)
			if !ok {
				t.Fatalf("%q: want it read", value)
			}
			if method, ok := passes(plain, "corp.example"); ok {
				t.Errorf("%q passes by %s, want not", value, method)
			}
		}
	})
}
