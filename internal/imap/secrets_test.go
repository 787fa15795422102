package imap

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/source"
)

func TestSecretsHide(t *testing.T) {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00hunter\"22\\"))
	s := secretsOf("ann", `hunter"22\`)
	for in, want := range map[string]string{
		"":                                     "",
		"all is well":                          "all is well",
		`wrong: hunter"22\`:                    "wrong: ***",
		`LOGIN "ann" "hunter\"22\\"`:           `LOGIN "ann" "***"`,
		`LOGIN ANN HUNTER"22\.`:                "LOGIN ANN ***.",
		"a \x00ann\x00hunter\"22\\ b":          "a \x00ann\x00*** b",
		"AUTHENTICATE PLAIN " + plain + " bad": "AUTHENTICATE PLAIN *** bad",
		"AUTHENTICATE PLAIN " + plain[:11]:     "AUTHENTICATE PLAIN ***",
		"(" + base64.RawStdEncoding.EncodeToString([]byte(`hunter"22\`)) + ")":           "(***)",
		base64.StdEncoding.EncodeToString([]byte("ann\x00ann\x00hunter\"22\\")) + "\r\n": "***\r\n",
		strings.Repeat(`hunter"22\`, 3):                                                  "*********",
		`hunter"22`:                                                                      `hunter"22`,
		strings.Repeat("x", 195) + `hunter"22\`:                                          strings.Repeat("x", 195) + "***",
		"\xffhunter\"22\\\xff":                                                           "\xff***\xff",
	} {
		if got := s.hide(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if got := secretsOf("ann", "").hide("ann said nothing"); got != "ann said nothing" {
		t.Errorf("without a password: got %q", got)
	}
}

// What a server says must not carry the password into an error, whatever the answer and whenever it comes.
func TestErrorsHoldNoPassword(t *testing.T) {
	const password = "hunter2266xyzzy"
	encoded := base64.StdEncoding.EncodeToString([]byte("\x00ann\x00" + password))
	for where, command := range map[string]string{"log-in": "LOGIN", "SASL": "AUTHENTICATE", "listing": "EXAMINE", "fetch": "UID FETCH", "order": "SELECT"} {
		for how, form := range map[string]string{
			"NO":               "TAG NO %s failed\r\n",
			"NO after 190":     "TAG NO " + strings.Repeat("x", 190) + "%s\r\n",
			"NO with a code":   "TAG NO [%[1]s] %[1]s\r\n",
			"BAD":              "TAG BAD Unknown command: LOGIN \"ann\" \"%s\"\r\n",
			"BAD in capitals":  "TAG BAD LOGIN ANN %s\r\n",
			"BYE":              "* BYE bad line: %s\r\nCLOSE",
			"BYE with a code":  "* BYE [%s] bad line\r\nCLOSE",
			"untagged BAD":     "* BAD bad line: %s\r\nCLOSE",
			"untagged NO":      "* NO bad line: %s\r\nCLOSE",
			"ALERT":            "* OK [ALERT] bad line: %s\r\nCLOSE",
			"ALERT, then NO":   "* OK [ALERT] %[1]s\r\nTAG NO %[1]s\r\n",
			"no response":      "%s\r\n",
			"a tag":            "%s NO x\r\n",
			"continuation":     "+ %s\r\n",
			"another's tag":    "X9 OK %s\r\n",
			"capability":       "* CAPABILITY %s\r\nTAG NO x\r\n",
			"a SEARCH, a LIST": "* SEARCH %[1]s\r\n* LIST () \".\" %[1]s\r\n* LIST %[1]s\r\nCLOSE",
		} {
			for _, said := range []string{password, encoded, "\x00ann\x00" + password} {
				if how == "BAD in capitals" {
					said = strings.ToUpper(said)
				}
				answer := fmt.Sprintf(form, said)
				t.Run(where+" "+how, func(t *testing.T) {
					hello := greeting
					if command == "LOGIN" {
						hello = "* OK [CAPABILITY IMAP4rev1] hi\r\n"
					}
					s := usual(script{command: answer, "LIST": "* LIST () \".\" \"" + strings.ToValidUTF8(strings.ReplaceAll(said, "\x00", ""), "") + "\"\r\nTAG OK x\r\n"})
					text := failure(t, s, hello, password)
					if text == "" && how != "capability" {
						t.Fatal("got no error, want one")
					}
					if lower := strings.ToLower(text); strings.Contains(lower, password) || strings.Contains(lower, strings.ToLower(encoded[:12])) {
						t.Errorf("got %q, which holds the password", text)
					}
				})
			}
		}
	}
}

// failure opens a session, lists, fetches and disposes until something fails, and returns all of the error's words.
func failure(t *testing.T, s script, hello, password string) string {
	t.Helper()
	words := func(err error) string {
		_, code, text, hint := fault.Describe(err)
		return strings.Join([]string{code, text, hint}, " ")
	}
	session, err := new(Opener).Open(t.Context(), listen(t, func(c net.Conn) { s.run(c, hello) }), "ann", password)
	if err != nil {
		return words(err)
	}
	closeWithTest(t, session)
	if _, err := session.List(t.Context(), "INBOX", source.Since{}); err != nil {
		return words(err)
	}
	if _, err := taken(t, session, []source.Ref{ref(10, 5)}, 1000); err != nil {
		return words(err)
	}
	answers, err := session.Dispose(t.Context(), []source.Order{{ReceiptID: 1, Ref: ref(10, 5), Action: source.Delete}})
	if err != nil {
		return words(err)
	}
	if answers[0].Err != nil {
		return words(answers[0].Err)
	}
	return ""
}
