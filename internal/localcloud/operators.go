package localcloud

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	operatorsFile   = "operators.json"
	operatorPEMFile = "sp-operator.pem"
	operatorApp     = "sp-operator"
)

// Azure built-in roles that operators hold, by name (Microsoft, "Azure built-in roles").
const (
	ownerRole     = "Owner"
	readerRole    = "Reader"
	rbacAdminRole = "Role Based Access Control Administrator"
)

// Operator is somebody who may use the cloud: a user, or the application sp-operator. What they log in with is a test credential.
type Operator struct {
	Name     string
	Rights   string // for a person to read
	ObjectID string

	UPN      string // of a user
	Password Credential

	AppID           string     // of sp-operator
	Certificate     Credential // PEM of its key and certificate, as az takes it
	CertificateFile string     // where that lies; "" without a run folder
}

// people are the users. Each has what one kind of colleague has, so that every refusal can be met.
func people() []person {
	return []person{
		{
			name: "admin", display: "Ada Admin", rights: "Global Administrator; Owner of the subscription",
			directory: []string{directory.GlobalAdministrator}, azure: []grant{{ownerRole, false}},
		},
		{
			name: "appadmin", display: "Pat Appadmin", rights: "Application Administrator; nothing in Azure",
			directory: []string{directory.ApplicationAdministrator},
		},
		{
			name: "rbacadmin", display: "Robin Rbacadmin", rights: "no directory role; Role Based Access Control Administrator and Reader of the resource group",
			azure: []grant{{rbacAdminRole, true}, {readerRole, true}},
		},
		{name: "reader", display: "Ria Reader", rights: "no directory role; Reader of the resource group", azure: []grant{{readerRole, true}}},
		{name: "nobody", display: "Noa Nobody", rights: "nothing beyond being a user"},
	}
}

type person struct {
	name, display, rights string
	directory             []string // role templates
	azure                 []grant
}

// grant is a role at the subscription, or at the seed's resource group.
type grant struct {
	role    string
	atGroup bool
}

// granted is a principal with its roles in Azure.
type granted struct {
	principal, kind string
	roles           []grant
}

const operatorRights = "an application; Application Administrator; Owner of the subscription"

// seedOperators puts the people and sp-operator into the directory and returns what roles each principal gets in Azure.
func (c *Cloud) seedOperators(w *world, tx replica.Tx) []granted {
	var grants []granted
	now := tx.Now().UTC()
	hold := func(principal string, templates []string) {
		for _, t := range templates {
			m := directory.RoleMember{ID: t + "/" + principal, Template: t, PrincipalID: principal}
			w.dir.RoleMembers.Put(tx, m.ID, m)
		}
	}
	for _, p := range people() {
		u := directory.User{
			ID: w.env.NewID(), UserPrincipalName: p.name + "@" + c.cfg.Domain, DisplayName: p.display,
			AccountEnabled: true, CreatedDateTime: now, Password: freshCredential().Reveal(),
		}
		w.dir.Users.Put(tx, u.ID, u)
		hold(u.ID, p.directory)
		grants = append(grants, granted{u.ID, "User", p.azure})
	}
	app := directory.Application{
		ID: w.env.NewID(), AppID: w.env.NewID(), DisplayName: operatorApp, SignInAudience: "AzureADMyOrg", CreatedDateTime: now,
		IdentifierURIs: []string{}, Tags: []string{}, Owners: []string{},
		KeyCredentials: []directory.KeyCredential{}, PasswordCredentials: []directory.PasswordCredential{},
	}
	sp := directory.ServicePrincipal{
		ID: w.env.NewID(), AppID: app.AppID, DisplayName: operatorApp, ServicePrincipalType: "Application", AccountEnabled: true,
		CreatedDateTime: now, AppOwnerOrganizationID: c.cfg.TenantID, ServicePrincipalNames: []string{app.AppID},
		AlternativeNames: []string{}, Tags: []string{}, Owners: []string{},
		KeyCredentials: []directory.KeyCredential{}, PasswordCredentials: []directory.PasswordCredential{},
	}
	w.dir.Applications.Put(tx, app.ID, app)
	w.dir.ServicePrincipals.Put(tx, sp.ID, sp)
	hold(sp.ID, []string{directory.ApplicationAdministrator})
	return append(grants, granted{sp.ID, "ServicePrincipal", []grant{{ownerRole, false}}})
}

// enlist reads the operators back from the directory, gives sp-operator a certificate if it needs one, and writes the file that tells
// their credentials.
func (c *Cloud) enlist(w *world) ([]Operator, error) {
	var all []Operator
	var app directory.Application
	w.store.Primary(func(v replica.View) {
		for _, p := range people() {
			for _, u := range w.dir.Users.By(v, "upn", strings.ToLower(p.name+"@"+c.cfg.Domain)) {
				all = append(all, Operator{Name: p.name, Rights: p.rights, ObjectID: u.ID, UPN: u.UserPrincipalName, Password: NewCredential(u.Password)})
			}
		}
		for _, a := range w.dir.Applications.By(v, "displayName", operatorApp) {
			if a.Live() && app.ID == "" { // the oldest; a test may make a namesake
				app = a
			}
		}
	})
	if app.ID != "" && (c.cfg.RunDir != "" || c.cfg.OperatorKey != nil) {
		sp, err := c.certify(w, app)
		if err != nil {
			return nil, err
		}
		all = append(all, sp)
	}
	if c.cfg.RunDir == "" {
		return all, nil
	}
	return all, writeOperators(filepath.Join(c.cfg.RunDir, operatorsFile), w.instance, all)
}

// certify makes sure that the PEM in the run folder is a certificate of the application, making one if need be.
func (c *Cloud) certify(w *world, app directory.Application) (Operator, error) {
	op := Operator{Name: operatorApp, Rights: operatorRights, AppID: app.AppID}
	w.store.Primary(func(v replica.View) {
		for _, sp := range w.dir.ServicePrincipals.By(v, "appId", app.AppID) {
			op.ObjectID = sp.ID
		}
	})
	if c.cfg.RunDir != "" {
		path, err := filepath.Abs(filepath.Join(c.cfg.RunDir, operatorPEMFile))
		if err != nil {
			return op, err
		}
		op.CertificateFile = path
		bundle, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return op, err
		}
		if c.registered(bundle, app) {
			op.Certificate = NewCredential(string(bundle))
			return op, nil
		}
	}
	bundle, cred, err := c.operatorCertificate(w)
	if err != nil {
		return op, err
	}
	op.Certificate = NewCredential(string(bundle))
	app.KeyCredentials = append(app.KeyCredentials[:len(app.KeyCredentials):len(app.KeyCredentials)], cred)
	err = w.store.Write(func(tx replica.Tx) error {
		w.dir.Applications.Put(tx, app.ID, app)
		return nil
	})
	if err == nil && op.CertificateFile != "" {
		err = writeFile(op.CertificateFile, bundle)
	}
	return op, err
}

// registered tells whether a PEM bundle is a pair whose certificate the application has, for another day at least.
func (c *Cloud) registered(bundle []byte, app directory.Application) bool {
	pair, err := tls.X509KeyPair(bundle, bundle)
	if err != nil {
		return false
	}
	for _, k := range app.KeyCredentials {
		if bytes.Equal(k.Key, pair.Certificate[0]) && c.now().AddDate(0, 0, 1).Before(k.EndDateTime) {
			return true
		}
	}
	return false
}

func (c *Cloud) operatorCertificate(w *world) ([]byte, directory.KeyCredential, error) {
	key := c.cfg.OperatorKey
	var err error
	if key == nil {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, directory.KeyCredential{}, err
		}
	}
	now := c.now().UTC()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(w.env.Random(15)), Subject: pkix.Name{CommonName: "sp-operator of a Leastkey local cloud"},
		NotBefore: now.Add(-time.Hour).Truncate(time.Second), NotAfter: now.AddDate(1, 0, 0).Truncate(time.Second), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, directory.KeyCredential{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, directory.KeyCredential{}, err
	}
	bundle := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	name, thumbprint := template.Subject.String(), sha1.Sum(der)
	return bundle, directory.KeyCredential{
		KeyID: w.env.NewID(), CustomKeyIdentifier: base64.StdEncoding.EncodeToString(thumbprint[:]), DisplayName: &name,
		Type: "AsymmetricX509Cert", Usage: "Verify", StartDateTime: template.NotBefore, EndDateTime: template.NotAfter, Key: der,
	}, nil
}

// operatorsJSON is the file's form, the only one that shows the passwords.
type operatorsJSON struct {
	Notice    string         `json:"notice"`
	Instance  string         `json:"instance"`
	Operators []operatorJSON `json:"operators"`
}

type operatorJSON struct {
	Name            string `json:"name"`
	Rights          string `json:"rights"`
	ObjectID        string `json:"object_id"`
	UPN             string `json:"upn,omitempty"`
	Password        string `json:"password,omitempty"`
	AppID           string `json:"app_id,omitempty"`
	CertificateFile string `json:"certificate_file,omitempty"`
}

func writeOperators(path, instance string, all []Operator) error {
	f := operatorsJSON{
		Notice:   "Test credentials of a Leastkey local cloud. They are of no use anywhere else. Password logins are for its token endpoint: grant_type=password.",
		Instance: instance,
	}
	for _, o := range all {
		f.Operators = append(f.Operators, operatorJSON{o.Name, o.Rights, o.ObjectID, o.UPN, o.Password.Reveal(), o.AppID, o.CertificateFile})
	}
	return writeJSON(path, f)
}

// ReadOperators reads the operators of a running cloud from the file that its [Run] names.
func ReadOperators(run Run) ([]Operator, error) {
	var f operatorsJSON
	known, err := readJSON(run.OperatorsFile, &f)
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, fmt.Errorf("%s is missing", run.OperatorsFile)
	case f.Instance != run.Instance:
		return nil, &StaleError{File: run.OperatorsFile, Reason: "it is of another instance"}
	}
	var all []Operator
	for _, o := range f.Operators {
		op := Operator{Name: o.Name, Rights: o.Rights, ObjectID: o.ObjectID, UPN: o.UPN, Password: NewCredential(o.Password), AppID: o.AppID, CertificateFile: o.CertificateFile}
		if o.CertificateFile != "" {
			bundle, err := os.ReadFile(o.CertificateFile)
			if err != nil {
				return nil, err
			}
			op.Certificate = NewCredential(string(bundle))
		}
		all = append(all, op)
	}
	return all, nil
}
