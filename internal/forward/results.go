package forward

import (
	"strings"

	"github.com/emersion/go-msgauth/authres"
	"golang.org/x/net/publicsuffix"

	"github.com/postroom/postroom/internal/eml"
)

// topResults returns the value of the topmost Authentication-Results field with this authserv-id (RFC 8601 section
// 2.5) above the border. Any other is ignored: a server writes one, so a second of its name is not its own.
func topResults(h eml.Header, id string, border int) (string, bool) {
	for i := range max(border, 0) {
		if !named(h[i], "Authentication-Results") {
			continue
		}
		value, ok := plainResults(string(h[i].Value))
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(value, ";")
		if name, _, _ := strings.Cut(strings.TrimSpace(first), " "); strings.EqualFold(name, id) {
			return value, true
		}
	}
	return "", false
}

// plainResults unfolds a value, takes its comments out and makes quoted strings inert. A sender chooses what stands in
// some of them (its HELO name, its envelope address), and the parser knows neither: without this
// "spf=fail (said helo x; dmarc=pass header.from=corp.example)" would be a pass. It fails where one does not end.
func plainResults(value string) (string, bool) {
	var out strings.Builder
	depth, quoted, escaped := 0, false, false
	for i := range len(value) {
		c := value[i]
		switch {
		case escaped:
			escaped = false
			if quoted {
				out.WriteByte('_')
			}
		case c == '\\' && (quoted || depth > 0):
			escaped = true
		case quoted:
			quoted = c != '"'
			if quoted {
				out.WriteByte(inert(c))
			}
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
			out.WriteByte(' ')
		case depth > 0:
		case c == ')':
			return "", false
		case c == '"':
			quoted = true
		case c == '\r' || c == '\n' || c == '\t':
			out.WriteByte(' ')
		default:
			out.WriteByte(c)
		}
	}
	return strings.TrimSpace(out.String()), depth == 0 && !quoted && !escaped
}

// inert replaces what would have a meaning outside of a quoted string.
func inert(c byte) byte {
	if c <= ' ' || c == ';' || c == '=' {
		return '_'
	}
	return c
}

// passes reports whether the results authenticate domain, and by which method: DMARC for it, or a DKIM signature aligned
// with it. A DMARC result that is not a pass decides against: the domain's owner may demand more of alignment than we do.
func passes(value, domain string) (method string, ok bool) {
	_, results, _ := authres.Parse(value) // what was read before a result that cannot be read holds
	var dmarc, dkim bool
	for _, result := range results {
		switch r := result.(type) {
		case *authres.DMARCResult:
			switch r.Value {
			case authres.ResultPass:
				if r.From != "" && !strings.EqualFold(r.From, domain) {
					return "", false
				}
				dmarc = true
			case authres.ResultNone:
			default:
				return "", false
			}
		case *authres.DKIMResult:
			dkim = dkim || r.Value == authres.ResultPass && aligned(signer(r), domain)
		}
	}
	switch {
	case dmarc:
		return "dmarc", true
	case dkim:
		return "dkim", true
	}
	return "", false
}

// signer returns the signing domain: header.d, or the domain of header.i where only that is written.
func signer(r *authres.DKIMResult) string {
	if r.Domain != "" {
		return r.Domain
	}
	if _, domain, found := strings.Cut(r.Identifier, "@"); found {
		return domain
	}
	return ""
}

// aligned reports whether two domains belong to one organisation (RFC 7489 section 3.1.1, relaxed).
func aligned(a, b string) bool {
	a, b = strings.ToLower(strings.TrimSuffix(a, ".")), strings.ToLower(strings.TrimSuffix(b, "."))
	if a == "" || b == "" {
		return false
	}
	if a == b {
		return true
	}
	orgA, errA := publicsuffix.EffectiveTLDPlusOne(a)
	orgB, errB := publicsuffix.EffectiveTLDPlusOne(b)
	return errA == nil && errB == nil && orgA == orgB
}
