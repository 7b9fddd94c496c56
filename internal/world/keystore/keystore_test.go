package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func newKey(t testing.TB, bits int) *Key {
	t.Helper()
	k, err := Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// text is the stored form of a key, for tests to take apart.
func text(t testing.TB, k crypto.Signer) []byte {
	t.Helper()
	v, err := EncodeKey(k)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	_ = v.Use(func(b []byte) error { out = bytes.Clone(b); return nil })
	return out
}

func TestKeysOfOtherSizesAreRefusedWithAHint(t *testing.T) {
	for _, bits := range []int{1024, 2047, 4096, 8192, -1} {
		if _, err := Generate(bits); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("%d bits: %v (hint %q)", bits, err, fault.Hint(err))
		}
	}
	if got := newKey(t, 0).public.N.BitLen(); got != DefaultBits {
		t.Errorf("default is %d bits", got)
	}
	big, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := EncodeKey(big); !fault.Is(err, fault.Refused) {
		t.Errorf("encode 4096 bits: %v", err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(big)})
	if _, err := DecodeKey(pkcs1); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "3072") {
		t.Errorf("decode 4096 bits: %v (hint %q)", err, fault.Hint(err))
	}
}

// The limits are those of the Windows Credential Manager (2,560 bytes) and of macOS' security tool (a line of 4,096 bytes, base64).
func TestStoredFormFitsEveryKeychain(t *testing.T) {
	for _, bits := range []int{2048, 3072} {
		n := len(text(t, newKey(t, bits)))
		line := len("go-keyring-base64:") + base64.StdEncoding.EncodedLen(n) + len("add-generic-password -U -s '' -a '' -w ''\n") + len(AgentService) + maxName
		if n > 2560 || line > 4096 {
			t.Errorf("%d bits: %d bytes, line of %d bytes", bits, n, line)
		}
	}
}

func TestDecodeReadsEachFormInWhichAKeyIsFound(t *testing.T) {
	k := newKey(t, 2048)
	cert, err := Certificate(k, CertificateOptions{CommonName: "x", Days: 1, Now: time.Unix(1800000000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	plain := text(t, k)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(k.open())})
	bundle := bytes.Join([][]byte{certPEM, plain}, nil)
	for name, in := range map[string][]byte{
		"PKCS#8":                            plain,
		"PKCS#8 between blank lines":        []byte("\n\n" + string(plain) + " \n"),
		"PKCS#8 with carriage returns":      bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n")),
		"PKCS#1":                            pkcs1,
		"certificate, then key":             bundle,
		"key, then certificate":             bytes.Join([][]byte{plain, certPEM}, nil),
		"bare hex of PEM":                   fmt.Appendf(nil, "%x", plain),
		"bare hex of a bundle, in capitals": fmt.Appendf(nil, "%X\n", bundle),
		"go-keyring's base64":               []byte("go-keyring-base64:" + base64.StdEncoding.EncodeToString(bundle)),
		"go-keyring's hex":                  fmt.Appendf(nil, "go-keyring-encoded:%x", plain),
	} {
		before := bytes.Clone(in)
		got, err := DecodeKey(in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(text(t, got), plain) {
			t.Errorf("%s: another key came out", name)
		}
		if !bytes.Equal(in, before) {
			t.Errorf("%s: the input was changed", name)
		}
	}
}

func TestTheCertificateBesideAKeyIsReadInEachForm(t *testing.T) {
	k, stranger := newKey(t, 2048), newKey(t, 2048)
	made := func(k *Key) []byte {
		c, err := Certificate(k, CertificateOptions{CommonName: "x", Days: 1, Now: time.Unix(1800000000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	plain, own, other := text(t, k), made(k), made(stranger)
	block, _ := pem.Decode(own)
	bundle := bytes.Join([][]byte{own, plain}, nil)
	for name, row := range map[string]struct {
		in   []byte
		code fault.Code // "": it is read
	}{
		"certificate, then key":        {bundle, ""},
		"key, then certificate":        {bytes.Join([][]byte{plain, own}, nil), ""},
		"behind another's certificate": {bytes.Join([][]byte{other, own, plain}, nil), ""},
		"bare hex of a bundle":         {fmt.Appendf(nil, "%x", bundle), ""},
		"go-keyring's base64":          {[]byte("go-keyring-base64:" + base64.StdEncoding.EncodeToString(bundle)), ""},
		"go-keyring's hex":             {fmt.Appendf(nil, "go-keyring-encoded:%x", bundle), ""},
		"a key alone":                  {plain, fault.NotFound},
		"another key's certificate":    {bytes.Join([][]byte{other, plain}, nil), fault.NotFound},
		"what is no certificate":       {bytes.Join([][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), plain}, nil), fault.NotFound},
		"a certificate alone":          {own, fault.Corrupt},
		"nothing":                      {nil, fault.Corrupt},
	} {
		before := bytes.Clone(row.in)
		got, err := DecodeCertificate(row.in)
		if fault.CodeOf(err) != row.code || (row.code == "" && !bytes.Equal(got, block.Bytes)) || (row.code != "" && got != nil) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if !bytes.Equal(row.in, before) {
			t.Errorf("%s: the input was changed", name)
		}
	}
}

func TestDecodeRefusesWhatIsNotOneKey(t *testing.T) {
	plain := text(t, newKey(t, 2048))
	encrypted := bytes.Replace(plain, []byte("PRIVATE KEY-----\n"), []byte("PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n"), 1)
	for name, row := range map[string]struct {
		in   []byte
		code fault.Code
	}{
		"nothing":              {nil, fault.Corrupt},
		"words":                {[]byte("canary words"), fault.Corrupt},
		"hex of words":         {[]byte("6869"), fault.Corrupt},
		"two keys":             {bytes.Join([][]byte{plain, plain}, nil), fault.Corrupt},
		"a certificate alone":  {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), fault.Corrupt},
		"another block":        {pem.EncodeToMemory(&pem.Block{Type: "CANARY", Bytes: []byte("x")}), fault.Corrupt},
		"a damaged key":        {bytes.Replace(plain, []byte("A"), []byte("B"), 1), fault.Corrupt},
		"half a key":           {plain[:len(plain)/2], fault.Corrupt},
		"bad base64":           {[]byte("go-keyring-base64:canary!"), fault.Corrupt},
		"bad hex":              {[]byte("go-keyring-encoded:canary"), fault.Corrupt},
		"a prefix in a prefix": {[]byte("go-keyring-encoded:" + fmt.Sprintf("%x", "go-keyring-base64:")), fault.Corrupt},
		"a key with password":  {encrypted, fault.Refused},
		"PKCS#8 with password": {pem.EncodeToMemory(&pem.Block{Type: pemEncrypted, Bytes: []byte("x")}), fault.Refused},
		"far too much":         {bytes.Repeat([]byte("A"), maxEncoded+1), fault.Corrupt},
	} {
		_, err := DecodeKey(row.in)
		if !fault.Is(err, row.code) {
			t.Errorf("%s: %v (%s), want %s", name, err, fault.CodeOf(err), row.code)
		}
		if err != nil && strings.Contains(strings.ToLower(err.Error()), "canary") {
			t.Errorf("%s: the error shows the input: %v", name, err)
		}
	}
}

func TestKeysCannotBePrintedOrEncoded(t *testing.T) {
	k := newKey(t, 2048)
	inside := struct{ k *Key }{k}
	secretNumber := k.open().D
	for _, out := range []string{fmt.Sprintf("%v %+v %#v %s %d", k, k, k, k, k), fmt.Sprintf("%v %+v %#v", inside, inside, inside)} {
		if strings.Contains(out, secretNumber.String()) || strings.Contains(out, secretNumber.Text(16)) {
			t.Error("printed key shows its private number")
		}
	}
	if b, err := json.Marshal(k); err == nil {
		t.Errorf("key was encoded as JSON: %d bytes", len(b))
	}
}

func TestCertificateIsWhatEntraTakes(t *testing.T) {
	k := newKey(t, 2048)
	now := time.Date(2027, 2, 3, 4, 5, 6, 789e6, time.FixedZone("", 3600))
	cert, err := Certificate(k, CertificateOptions{CommonName: "polyclaw-runtime", Days: 365, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2027, 2, 3, 3, 5, 6, 0, time.UTC)
	if !cert.NotBefore.Equal(begin) || !cert.NotAfter.Equal(begin.AddDate(0, 0, 365)) {
		t.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter)
	}
	if cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.SignatureAlgorithm != x509.SHA256WithRSA || cert.IsCA {
		t.Errorf("usage %v, algorithm %v, CA %v", cert.KeyUsage, cert.SignatureAlgorithm, cert.IsCA)
	}
	if cert.Subject.CommonName != "polyclaw-runtime" || cert.SerialNumber.BitLen() < 100 {
		t.Errorf("subject %s, serial of %d bits", cert.Subject, cert.SerialNumber.BitLen())
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		t.Error(err)
	}
	if err := Matches(cert, k); err != nil {
		t.Errorf("own key: %v", err)
	}
	if err := Matches(cert, newKey(t, 2048)); !fault.Is(err, fault.Conflict) {
		t.Errorf("other key: %v", err)
	}
	if err := Matches(nil, k); !fault.Is(err, fault.Invalid) {
		t.Errorf("no certificate: %v", err)
	}
	for _, bad := range []CertificateOptions{
		{Days: 1, Now: now}, {CommonName: strings.Repeat("x", 65), Days: 1, Now: now}, {CommonName: "x", Now: now}, {CommonName: "x", Days: 1},
	} {
		if _, err := Certificate(k, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestLockExcludesAndFrees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "lock")
	unlock, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !fault.Is(err, fault.Busy) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	again, err := Lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// FuzzDecodeKey: whatever parses is one key, its encoding parses to the same key, and no error shows the input. Run it with
// -fuzzminimizetime 1x: the checks of an RSA key draw random numbers, so its coverage varies and minimizing never ends.
func FuzzDecodeKey(f *testing.F) {
	k := newKey(f, 2048)
	plain := text(f, k)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: pemPKCS1, Bytes: x509.MarshalPKCS1PrivateKey(k.open())})
	for _, seed := range [][]byte{
		plain, pkcs1, fmt.Appendf(nil, "%x", plain), []byte("go-keyring-base64:" + base64.StdEncoding.EncodeToString(pkcs1)),
		fmt.Appendf(nil, "go-keyring-encoded:%x", plain), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), nil,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := DecodeKey(in)
		if err != nil {
			for chunk := range bytes.FieldsSeq(in) {
				if len(chunk) >= 16 && strings.Contains(err.Error()+fault.Hint(err), string(chunk)) {
					t.Fatal("the error shows the input")
				}
			}
			if !fault.Is(err, fault.Corrupt, fault.Refused, fault.Invalid) {
				t.Fatalf("error without a class: %v", err)
			}
			return
		}
		once := text(t, got)
		again, err := DecodeKey(once)
		if err != nil {
			t.Fatalf("encoded key does not parse: %v", err)
		}
		if !bytes.Equal(once, text(t, again)) {
			t.Fatal("encoding is not stable")
		}
	})
}
