"""One realistic snippet per language: what is defined in it, by kind, qualified name and lines."""

import pytest

from ingest.chunking import chunk_document
from ingest.languages import detect_language
from ingest.model import Document, SourceInfo, Symbol

SOURCE = SourceInfo("app", "code", "shop", ("local",))

SNIPPETS: dict[str, tuple[str, str]] = {}


def snippet(path: str, code: str, expected: str) -> None:
    SNIPPETS[path] = (code.removeprefix("\n"), expected)


snippet(
    "sessions.py",
    '''
"""Sessions."""
import os

DEFAULT_TIMEOUT = 30
_cache: dict = {}
first, second = 1, 2


class Session(Base):
    """Keeps cookies. Not thread safe."""

    retries: int = 3

    @property
    def cookies(self):
        return self._cookies

    @retry(
        times=3,
    )
    async def request(self, method, url):
        def attempt():
            return None
        return attempt()


def get(url: str, *, timeout: float = 1.0) -> "Response":
    """Send a GET."""


if os.name == "nt":
    SEPARATOR = ";"
''',
    """
constant DEFAULT_TIMEOUT 4-4
variable _cache 5-5
variable first 6-6
variable second 6-6
class Session 9-24
property Session.retries 12-12
method Session.cookies 14-16
method Session.request 18-24
function Session.request.attempt 22-23
function get 27-28
constant SEPARATOR 32-32
""",
)

snippet(
    "lib/app.js",
    """
const http = require('http');
const VERSION = '1.0';

var app = exports = module.exports = {};

/**
 * Proxy to the router.
 */

app.use = function use(fn) {
  function mounted() {}
};

Foo.prototype.bar = function () {};
exports.send = (body) => body;
module.exports = function createApp() {};

const fetchUser = async (id) => ({ id });
export default class Store extends Base {
  #count = 0;
  static get size() { return 1; }
  push = (item) => item;
}
export function* walk(tree) {}
const api = {
  list() {},
  remove: function (id) {},
  find: (id) => id,
};
defineGetter(req, 'protocol', function protocol() {});
""",
    """
constant VERSION 2-2
variable app 4-4
method app.use 10-12
function app.use.mounted 11-11
method Foo.bar 14-14
function send 15-15
function createApp 16-16
function fetchUser 18-18
class Store 19-23
property Store.#count 20-20
method Store.size 21-21
property Store.push 22-22
function walk 24-24
variable api 25-29
method api.list 26-26
method api.remove 27-27
method api.find 28-28
function protocol 30-30
""",
)

snippet(
    "view.jsx",
    """
export const Button = ({ label }) => <button>{label}</button>;

function App() {
  return <Button label="ok" />;
}
""",
    """
function Button 1-1
function App 3-5
""",
)

snippet(
    "router.ts",
    """
export interface Route<T> {
  path: string;
  match(url: string): boolean;
}

export type Handler = (req: Request) => void;
export enum Method { Get, Post = 'POST' }

export abstract class Router<T> implements Route<T> {
  private readonly routes: Route<T>[] = [];
  constructor(private base: string) {}
  abstract resolve(url: string): Route<T>;
  match(url: string): boolean { return true; }
}

export function parse(input: string): URL;
export function parse(input: URL): URL;
export function parse(input: any): URL { return input; }

declare const __DEV__: boolean;
namespace Internal {
  export const helper = <T,>(x: T) => x;
}
""",
    """
interface Route 1-4
property Route.path 2-2
method Route.match 3-3
type Handler 6-6
enum Method 7-7
constant Method.Get 7-7
constant Method.Post 7-7
class Router 9-14
property Router.routes 10-10
method Router.constructor 11-11
method Router.resolve 12-12
method Router.match 13-13
function parse 16-16
function parse 17-17
function parse 18-18
constant __DEV__ 20-20
namespace Internal 21-23
function Internal.helper 22-22
""",
)

snippet(
    "page.tsx",
    """
type Props = { title: string };

export default function Page({ title }: Props) {
  const onClick = () => {};
  return <h1 onClick={onClick}>{title}</h1>;
}
""",
    """
type Props 1-1
function Page 3-6
function Page.onClick 4-4
""",
)

snippet(
    "engine.go",
    """
package gin

const AuthKey = "user"

var (
	errA = errors.New("a")
	errB = errors.New("b")
)

// Engine routes. It is safe.
type Engine struct {
	RouterGroup
	trees methodTrees
}

type (
	Handler  func(*Context)
	IRoutes interface {
		Use(...Handler) IRoutes
	}
)

func New[T any](opts ...T) *Engine {
	return &Engine{}
}

func (engine *Engine) ServeHTTP(w http.ResponseWriter, req *http.Request) {
}

func (l List[T]) Len() int { return 0 }
""",
    """
constant AuthKey 3-3
variable errA 6-6
variable errB 7-7
struct Engine 11-14
property Engine.trees 13-13
type Handler 17-17
interface IRoutes 18-20
method IRoutes.Use 19-19
function New 23-25
method Engine.ServeHTTP 27-28
method List.Len 30-30
""",
)

snippet(
    "notify.rs",
    """
pub const LIMIT: usize = 3;
static mut COUNT: u32 = 0;

#[derive(Debug)]
pub struct Notify<'a> {
    state: AtomicUsize,
}

pub enum State { Idle, Busy(u8) }

pub trait Wake: Send {
    type Output;
    fn wake(&self);
    fn name(&self) -> String { String::new() }
}

impl<'a> Notify<'a> {
    const MAX: u8 = 1;
    pub async fn notified(&self) -> bool { true }
}

impl<T> fmt::Display for wrap::Outer<T> {
    fn fmt(&self) {}
}

macro_rules! cfg_rt { () => {} }

cfg_rt! {
    mod inner {
        cfg_net! {
            pub fn spawn() {}
        }
    }
}

type Result<T> = std::result::Result<T, Error>;
""",
    """
constant LIMIT 1-1
constant COUNT 2-2
struct Notify 5-7
property Notify.state 6-6
enum State 9-9
constant State.Idle 9-9
constant State.Busy 9-9
trait Wake 11-15
method Wake.wake 13-13
method Wake.name 14-14
constant Notify.MAX 18-18
method Notify.notified 19-19
method Outer.fmt 23-23
macro cfg_rt 26-26
module inner 29-33
function inner.spawn 31-31
type Result 36-36
""",
)

snippet(
    "Gson.java",
    """
package com.google.gson;

/** Converts. */
@Beta
public final class Gson<T> extends Base {
  static final boolean DEFAULT_LENIENT = false;
  private int depth, width;

  public Gson() { this(1); }

  @Override
  public <R> String toJson(R src) throws IOException {
    return new Object() { int inner() { return 1; } }.toString();
  }

  enum Policy { STRICT, LENIENT { void f() {} } }
  interface Visitor { int ORDER = 1; void visit(); }
  record Point(int x, int y) { Point { } }
  @interface Since { double value(); }
}
""",
    """
class Gson 4-20
constant Gson.DEFAULT_LENIENT 6-6
property Gson.depth 7-7
property Gson.width 7-7
method Gson.Gson 9-9
method Gson.toJson 11-14
method Gson.toJson.inner 13-13
enum Gson.Policy 16-16
constant Gson.Policy.STRICT 16-16
constant Gson.Policy.LENIENT 16-16
method Gson.Policy.LENIENT.f 16-16
interface Gson.Visitor 17-17
constant Gson.Visitor.ORDER 17-17
method Gson.Visitor.visit 17-17
class Gson.Point 18-18
method Gson.Point.Point 18-18
interface Gson.Since 19-19
method Gson.Since.value 19-19
""",
)

snippet(
    "timer.c",
    """
#include "uv.h"
#ifndef TIMER_H
#define TIMER_H
#define MAX_TIMERS 10
#define container_of(ptr, type) \\
  ((type *) (ptr))

UV_EXTERN int uv_timer_init(uv_loop_t* loop);

typedef struct {
  int active;
  void (*callback)(int);
} uv_timer_t;
typedef int (*uv_cmp)(const void*, const void*);

struct heap { struct node* min; };
union both { int i; float f; };
enum mode { MODE_ONCE, MODE_REPEAT = 2 };

static struct heap *timer_heap(const uv_loop_t* loop) {
  int local = 1;
  return NULL;
}

static const char* names[] = {
  "once",
};

int
main(void) {
  return 0;
}
#endif
""",
    """
macro MAX_TIMERS 4-4
macro container_of 5-6
function uv_timer_init 8-8
type uv_timer_t 10-13
property uv_timer_t.active 11-11
property uv_timer_t.callback 12-12
type uv_cmp 14-14
struct heap 16-16
property heap.min 16-16
struct both 17-17
property both.i 17-17
property both.f 17-17
enum mode 18-18
constant mode.MODE_ONCE 18-18
constant mode.MODE_REPEAT 18-18
function timer_heap 20-23
variable names 25-27
function main 29-32
""",
)

snippet(
    "connection.cpp",
    """
namespace app::net {

/// A connection to one peer.
template <typename T>
class Connection final : public Base<T> {
 public:
  explicit Connection(int fd);
  virtual ~Connection() = default;
  bool send(const std::string& data) const { return true; }
  Connection& operator=(const Connection& other) = delete;
  static constexpr int kMax = 3;

 private:
  enum class State { Open, Closed };
};

using Handler = std::function<void(int)>;

}  // namespace app::net

template <typename T>
bool app::net::Connection<T>::flush() noexcept {
  return true;
}

bool operator==(const Options& a, const Options& b) { return true; }
app::Options::operator bool() const { return true; }
extern "C" {
int plain(void);
}
""",
    """
namespace app.net 1-19
class app.net.Connection 4-15
method app.net.Connection.Connection 7-7
method app.net.Connection.~Connection 8-8
method app.net.Connection.send 9-9
method app.net.Connection.operator= 10-10
property app.net.Connection.kMax 11-11
enum app.net.Connection.State 14-14
constant app.net.Connection.State.Open 14-14
constant app.net.Connection.State.Closed 14-14
type app.net.Handler 17-17
method app.net.Connection.flush 21-24
function operator== 26-26
method app.Options.operator bool 27-27
function plain 29-29
""",
)

snippet(
    "InvoiceService.cs",
    """
namespace Acme.Billing
{
    /// <summary>Turns orders into invoices.</summary>
    [Serializable]
    public sealed class InvoiceService : IInvoiceService
    {
        private const int MAX_LINES = 100;
        private readonly ILogger _log;
        public string Currency { get; set; } = "EUR";
        public InvoiceService(ILogger log) => _log = log;

        [Obsolete]
        public async Task<Invoice> CreateAsync<T>(Order order) where T : class
        {
            int Local(int x) { return x; }
            return new Invoice();
        }

        public event EventHandler Changed;
    }

    public record Invoice(int Id);
    public struct Money { }
    public interface IInvoiceService { Task Send(); }
    public enum Status { Open, Paid }
    public delegate void Done(int code);
}
""",
    """
namespace Acme.Billing 1-27
class Acme.Billing.InvoiceService 4-20
constant Acme.Billing.InvoiceService.MAX_LINES 7-7
property Acme.Billing.InvoiceService._log 8-8
property Acme.Billing.InvoiceService.Currency 9-9
method Acme.Billing.InvoiceService.InvoiceService 10-10
method Acme.Billing.InvoiceService.CreateAsync 12-17
function Acme.Billing.InvoiceService.CreateAsync.Local 15-15
property Acme.Billing.InvoiceService.Changed 19-19
class Acme.Billing.Invoice 22-22
struct Acme.Billing.Money 23-23
interface Acme.Billing.IInvoiceService 24-24
method Acme.Billing.IInvoiceService.Send 24-24
enum Acme.Billing.Status 25-25
constant Acme.Billing.Status.Open 25-25
constant Acme.Billing.Status.Paid 25-25
type Acme.Billing.Done 26-26
""",
)

snippet(
    "base.rb",
    """
module Sinatra
  # The request object. See Rack.
  class Request < Rack::Request
    HEADER = /x/.freeze
    attr_accessor :params, :format
    attr_reader :env

    def accept?(type)
      true
    end

    def self.build(env) = new(env)

    class << self
      def reset!; end
    end

    define_method(:halt) { |x| x }
    alias url uri
  end

  class Errors::NotFound < StandardError; end
end

def helper
end
""",
    """
module Sinatra 1-23
class Sinatra.Request 3-20
constant Sinatra.Request.HEADER 4-4
property Sinatra.Request.params 5-5
property Sinatra.Request.format 5-5
property Sinatra.Request.env 6-6
method Sinatra.Request.accept? 8-10
method Sinatra.Request.build 12-12
method Sinatra.Request.reset! 15-15
method Sinatra.Request.halt 18-18
method Sinatra.Request.url 19-19
class Sinatra.Errors.NotFound 22-22
function helper 25-26
""",
)

snippet(
    "UserController.php",
    """
<?php
namespace App\\Http;

const LIMIT = 10;

/**
 * Handles users.
 */
#[Route('/users')]
final class UserController extends Controller
{
    public const PAGE_SIZE = 20;
    private ?string $name = null;

    /** Shows one user. */
    public function show(int $id): Response
    {
        return new Response();
    }

    public static function make(): static { return new static(); }
}

interface Shape { public function area(): float; }
trait Loud { public function shout() {} }
enum Suit: string { case Hearts = 'H'; }

function helper(array $xs) { return $xs; }
$handler = function ($x) { return $x; };
""",
    """
constant LIMIT 4-4
class UserController 9-22
constant UserController.PAGE_SIZE 12-12
property UserController.name 13-13
method UserController.show 16-19
method UserController.make 21-21
interface Shape 24-24
method Shape.area 24-24
trait Loud 25-25
method Loud.shout 25-25
enum Suit 26-26
constant Suit.Hearts 26-26
function helper 28-28
variable handler 29-29
""",
)


def read_symbols(path: str, code: str) -> list[Symbol]:
    document = Document(SOURCE, path, None, path, code, "0", detect_language(path, code.encode()))
    return [symbol for chunk in chunk_document(document, chunk_chars=1500) for symbol in chunk.symbols]


@pytest.mark.parametrize("path", SNIPPETS)
def test_definitions_of_a_realistic_file(path):
    code, expected = SNIPPETS[path]
    found = [f"{s.kind} {s.qualname} {s.start_line}-{s.end_line}" for s in read_symbols(path, code)]
    assert found == expected.strip().splitlines()


@pytest.mark.parametrize(
    ("path", "qualname", "signature", "doc"),
    [
        ("sessions.py", "Session", "class Session(Base):", "Keeps cookies."),
        ("sessions.py", "Session.request", "async def request(self, method, url):", ""),
        ("sessions.py", "get", 'def get(url: str, *, timeout: float = 1.0) -> "Response":', "Send a GET."),
        ("lib/app.js", "app.use", "app.use = function use(fn)", "Proxy to the router."),
        ("engine.go", "Engine", "type Engine struct", "Engine routes."),
        (
            "engine.go",
            "Engine.ServeHTTP",
            "func (engine *Engine) ServeHTTP(w http.ResponseWriter, req *http.Request)",
            "",
        ),
        ("Gson.java", "Gson", "public final class Gson<T> extends Base", "Converts."),
        ("Gson.java", "Gson.toJson", "public <R> String toJson(R src) throws IOException", ""),
        ("connection.cpp", "app.net.Connection.send", "bool send(const std::string& data) const", ""),
        (
            "InvoiceService.cs",
            "Acme.Billing.InvoiceService",
            "public sealed class InvoiceService : IInvoiceService",
            "Turns orders into invoices.",
        ),
        ("base.rb", "Sinatra.Request", "class Request < Rack::Request", "The request object."),
        ("UserController.php", "UserController.show", "public function show(int $id): Response", "Shows one user."),
    ],
)
def test_signature_is_one_line_and_doc_is_the_first_sentence(path, qualname, signature, doc):
    symbol = next(s for s in read_symbols(path, SNIPPETS[path][0]) if s.qualname == qualname)
    assert (symbol.signature, symbol.doc) == (signature, doc)


def test_nameless_exports_are_called_module_exports():
    symbols = read_symbols("a.js", "module.exports = function (app) {\n};\n")
    assert [(s.name, s.qualname, s.kind) for s in symbols] == [("exports", "module.exports", "method")]


def test_long_signature_is_cut():
    code = "def f(" + ", ".join(f"argument_{i}" for i in range(60)) + "):\n    pass\n"
    (symbol,) = read_symbols("a.py", code)
    assert len(symbol.signature) == 200
    assert symbol.signature.endswith("…")


def test_a_macro_call_whose_content_is_no_rust_leaves_the_rest_alone():
    code = "bitflags! {\n    struct Flags: u32 { const A = 1; }\n}\nfn kept() {}\n"
    assert [s.qualname for s in read_symbols("a.rs", code)] == ["kept"]
