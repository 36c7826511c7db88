"""One realistic snippet per language: what is defined in it, by kind, qualified name and lines."""

import pytest

from ingest.chunking import chunk_document, chunk_with_reason
from ingest.chunking.definitions import KEY_LIMIT
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
method Store.push 22-22
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
declaration parse 16-16
declaration parse 17-17
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
property Props.title 1-1
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
property Gson.Point.x 18-18
property Gson.Point.y 18-18
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
declaration uv_timer_init 8-8
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
declaration app.net.Connection.Connection 7-7
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
declaration plain 29-29
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
property Acme.Billing.Invoice.Id 22-22
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

snippet(
    "Source.kt",
    """
package com.acme

typealias Handler = (Request) -> Unit
const val LIMIT = 10
private val cache = mutableMapOf<String, Int>()

/** Reads bytes. Not thread safe. */
@Deprecated("old")
abstract class Source<T : Any>(val size: Int, name: String = "") : Closeable, Base(size) {
  lateinit var owner: Owner
  val isOpen: Boolean
    get() = size > 0
  constructor(other: Source<T>) : this(other.size)

  abstract fun read(sink: Buffer, count: Long): Long
  override fun close() {
    val local = 1
    fun inner() = local
  }

  companion object {
    const val MAX = 1
    @JvmStatic fun create(): Source<Int> = TODO()
  }
  inner class Cursor
}

object Registry : Base() { fun find(id: Int) = id }
data class Point(val x: Int, val y: Int)
sealed interface Shape {
  fun area(): Double
}
enum class Color(val rgb: Int) { RED(1), GREEN(2) }
annotation class Since(val version: String)

fun Buffer.readAll(): String = ""
internal suspend inline fun <reified T> List<T>.second(block: () -> Unit): T? { return null }
val String.shout: String get() = uppercase()
fun `name with spaces`() {}
""",
    """
type Handler 3-3
constant LIMIT 4-4
variable cache 5-5
class Source 8-26
property Source.size 9-9
property Source.owner 10-10
property Source.isOpen 11-12
method Source.constructor 13-13
method Source.read 15-15
method Source.close 16-19
function Source.close.inner 18-18
constant Source.MAX 22-22
method Source.create 23-23
class Source.Cursor 25-25
class Registry 28-28
method Registry.find 28-28
class Point 29-29
property Point.x 29-29
property Point.y 29-29
interface Shape 30-32
method Shape.area 31-31
enum Color 33-33
property Color.rgb 33-33
constant Color.RED 33-33
constant Color.GREEN 33-33
interface Since 34-34
property Since.version 34-34
method Buffer.readAll 36-36
method List.second 37-37
property String.shout 38-38
function name with spaces 39-39
""",
)

snippet(
    "Session.swift",
    """
import Foundation

public typealias Handler = (Request) -> Void
let limit = 10
public var shared: Session? = nil

/// Talks to a server. Not thread safe.
@available(iOS 13, *)
public final class Session<T>: Base, Sendable where T: Codable {
    public static let `default` = Session()
    private(set) var count: Int = 0
    var isOpen: Bool { count > 0 }
    let (x, y) = (1, 2)
    init(count: Int) { self.count = count }
    convenience init?(_ text: String) { return nil }
    deinit {}
    subscript(index: Int) -> T { fatalError() }
    @discardableResult
    func request(_ url: URL, method: Method = .get) async throws -> Data {
        func inner() {}
        return Data()
    }
    enum State { case idle, busy(Int) }
}

struct Point: Equatable { var x: Int; static func == (a: Point, b: Point) -> Bool { true } }
indirect enum Tree { case leaf; case node(Tree, Tree)
  var depth: Int { 1 } }
protocol Shape: AnyObject { associatedtype Unit; var area: Double { get }
  func draw(in c: Context)
  init(x: Int)
}
extension Array where Element: Shape { func total() -> Double { 0 } }
extension Outer.Inner: Shape { }
actor Counter { var n = 0; func up() { n += 1 } }
func helper<T>(_ x: T) -> T { x }
prefix operator ++
infix operator <+>: AdditionPrecedence
func <+> (a: Int, b: Int) -> Int { a }
precedencegroup P { higherThan: AdditionPrecedence }
macro stringify<T>(_ value: T) -> (T, String) = #externalMacro(module: "M", type: "S")
#if os(Linux)
func linuxOnly() {}
#endif
""",
    """
type Handler 3-3
variable limit 4-4
variable shared 5-5
class Session 8-24
property Session.default 10-10
property Session.count 11-11
property Session.isOpen 12-12
method Session.init 14-14
method Session.init 15-15
method Session.deinit 16-16
method Session.subscript 17-17
method Session.request 18-22
function Session.request.inner 20-20
enum Session.State 23-23
constant Session.State.idle 23-23
constant Session.State.busy 23-23
struct Point 26-26
property Point.x 26-26
enum Tree 27-28
constant Tree.leaf 27-27
constant Tree.node 27-27
property Tree.depth 28-28
interface Shape 29-32
type Shape.Unit 29-29
property Shape.area 29-29
method Shape.draw 30-30
method Shape.init 31-31
method Array.total 33-33
class Counter 35-35
property Counter.n 35-35
method Counter.up 35-35
function helper 36-36
function <+> 39-39
macro stringify 41-41
function linuxOnly 43-43
""",
)

snippet(
    "Reader.scala",
    """
package com.acme
package object util { type Id = Int; def twice(x: Int) = x * 2 }

/** Reads lines. Not thread safe. */
@deprecated("x")
sealed abstract class Reader[A](val size: Int) extends Base with Closeable {
  val limit: Int = 10
  private var n, m = 0
  lazy val cache = Map.empty
  type Out <: A
  def read(n: Int)(implicit ec: ExecutionContext): Option[A]
  override def close(): Unit = {
    def inner = 1
  }
  class Cursor { def next() = 1 }
}
object Reader { def apply(x: Int): Reader[Int] = ???; val Max = 1; implicit val ord: Ordering[Int] = ??? }
trait Shape { def area: Double; val label: String }
case class Point(x: Int, y: Int)
case object Empty extends Shape
object Main extends App {
  val (a, b) = (1, 2)
}
enum Color(val rgb: Int) { case Red extends Color(1); case Green, Blue }
enum Tree[+A]:
  case Leaf(value: A)
  case Node(l: Tree[A], r: Tree[A])
  def depth: Int = 1
given intOrd: Ord[Int] with
  def compare(x: Int, y: Int): Int = 0
given Show[Int] = ???
extension (s: String)
  def shout: String = s.toUpperCase
  def quiet: String = s
extension [T](xs: List[T]) def second: T = xs(1)
type Pair = [X] =>> (X, X)
opaque type Name = String
inline def debug(x: Any): Unit = ()
@main def hello(name: String) =
  println(name)
val topLevel = 1
def + (x: Int) = 1
""",
    """
module util 2-2
type util.Id 2-2
function util.twice 2-2
class Reader 5-16
property Reader.size 6-6
property Reader.limit 7-7
property Reader.n 8-8
property Reader.m 8-8
property Reader.cache 9-9
type Reader.Out 10-10
method Reader.read 11-11
method Reader.close 12-14
function Reader.close.inner 13-13
class Reader.Cursor 15-15
method Reader.Cursor.next 15-15
class Reader 17-17
method Reader.apply 17-17
property Reader.Max 17-17
property Reader.ord 17-17
trait Shape 18-18
method Shape.area 18-18
property Shape.label 18-18
class Point 19-19
class Empty 20-20
class Main 21-23
enum Color 24-24
constant Color.Red 24-24
constant Color.Green 24-24
constant Color.Blue 24-24
enum Tree 25-28
constant Tree.Leaf 26-26
constant Tree.Node 27-27
method Tree.depth 28-28
variable intOrd 29-30
function intOrd.compare 30-30
method String.shout 33-33
method String.quiet 34-34
method List.second 35-35
type Pair 36-36
type Name 37-37
function debug 38-38
function hello 39-40
variable topLevel 41-41
function + 42-42
""",
)

snippet(
    "deploy.sh",
    """
#!/usr/bin/env bash
# shellcheck disable=SC2034
set -e
VERSION=1.0
export PATH="/usr/bin:$PATH"
readonly LIMIT=10
declare -r CONST=1
declare -A map=([a]=1)
export FOO BAR=2
alias ll='ls -l'
mode="a"; other=2

# Prints help. Then exits.
usage() {
  local x=1
  inner() { echo; }
  echo "$1"
}

function build {
  make
}
function deploy() (
  cd x
)
if [ -z "$X" ]; then
  X=1
  fallback() { :; }
fi
my-func() { :; }
case "$1" in
  start) start ;;
  stop)
    stop
    ;;
esac
""",
    """
constant VERSION 4-4
constant PATH 5-5
constant LIMIT 6-6
constant CONST 7-7
variable map 8-8
constant BAR 9-9
variable mode 11-11
variable other 11-11
function usage 14-18
function usage.inner 16-16
function build 20-22
function deploy 23-25
function fallback 28-28
function my-func 30-30
""",
)

snippet(
    "client.lua",
    """
local http = require("http")
local M = {}
local LIMIT = 10
VERSION = "1"

--- Sends it. Retries once.
-- @param url string
function M.send(url, opts)
  local function retry() end
  return retry()
end

function M.sub.deep() end
function M:close() end
local function helper(x) return x end
function global() end
M.open = function(a) end
local parse = function(s) end
local unpack, pack = table.unpack, table.pack
local Class = setmetatable({}, { __index = M })
local handlers = {
  get = function(req) end,
  post = function(req) end,
  name = "x",
}
M.config = { a = 1 }
M["quoted"] = function() end
Class.__index = Class
return {
  run = function() end,
  helper = helper,
}
""",
    """
variable M 2-2
constant LIMIT 3-3
constant VERSION 4-4
method M.send 8-11
function M.send.retry 9-9
method M.sub.deep 13-13
method M.close 14-14
function helper 15-15
function global 16-16
method M.open 17-17
function parse 18-18
variable unpack 19-19
variable pack 19-19
variable Class 20-20
variable handlers 21-25
method handlers.get 22-22
method handlers.post 23-23
property M.config 26-26
property Class.__index 28-28
function run 30-30
""",
)

snippet(
    "lib/accounts.ex",
    r'''
defmodule MyApp.Accounts do
  @moduledoc """
  The accounts. See docs.
  """
  use GenServer
  alias MyApp.User
  @timeout 5_000
  @type t :: %__MODULE__{id: integer}
  @typep internal :: atom
  @opaque token :: binary
  @callback fetch(id :: integer) :: {:ok, t} | :error
  @macrocallback mac() :: Macro.t()
  defstruct [:id, name: "x"]
  defexception [:message]

  @doc "Gets a user. Raises."
  @spec get_user!(integer) :: User.t()
  def get_user!(id) when is_integer(id), do: Repo.get!(User, id)
  def get_user!(nil), do: nil

  @doc """
  Creates a user.
  """
  def create(attrs \\ %{}) do
    attrs
  end

  # Private one. More.
  defp check(x), do: x
  defp check(_, y), do: y
  defmacro is_ok(x) do
    quote do: unquote(x)
  end
  defmacrop priv(x), do: x
  defguard is_even(x) when rem(x, 2) == 0
  defdelegate size(x), to: Map
  def a + b, do: a
  def unquote(name)(x), do: x

  defmodule Nested do
    def inner, do: 1
  end
end

defprotocol Size do
  @doc "Size."
  def size(data)
end

defimpl Size, for: BitString do
  def size(b), do: byte_size(b)
end
defimpl Size, for: [Map, List] do
end

defmodule MyTest do
  describe "things" do
    test "works" do
      assert true
    end
  end
end
''',
    """
module MyApp.Accounts 1-43
constant MyApp.Accounts.timeout 7-7
type MyApp.Accounts.t 8-8
type MyApp.Accounts.internal 9-9
type MyApp.Accounts.token 10-10
method MyApp.Accounts.fetch 11-11
method MyApp.Accounts.mac 12-12
function MyApp.Accounts.get_user! 18-19
function MyApp.Accounts.create 24-26
function MyApp.Accounts.check 29-30
macro MyApp.Accounts.is_ok 31-33
macro MyApp.Accounts.priv 34-34
macro MyApp.Accounts.is_even 35-35
function MyApp.Accounts.size 36-36
module MyApp.Accounts.Nested 40-42
function MyApp.Accounts.Nested.inner 41-41
interface Size 45-48
method Size.size 47-47
method BitString.size 51-51
module MyTest 56-62
""",
)

snippet(
    "Shape.hs",
    """
{-# LANGUAGE GADTs #-}
module Data.Foo (foo, Bar(..)) where

import qualified Data.Map as M

-- | Adds two. Fast.
add :: Int -> Int -> Int
add 0 y = y
add x y = x + y
  where helper z = z

infixl 6 <+>
(<+>) :: Int -> Int -> Int
a <+> b = a + b

constant :: Int
constant = 3

-- | A shape.
data Shape = Circle { radius :: Double, name :: String } | Square Double
  deriving (Show)
newtype Id a = Id { unId :: a }
type Name = String
type family F a where
  F Int = Bool
data family D a
data Expr a where
  Lit :: Int -> Expr Int
  Add :: Expr Int -> Expr Int -> Expr Int

class Monad m => MonadLog m where
  type Out m
  logIt :: String -> m ()
  logIt _ = pure ()

instance MonadLog IO where
  logIt = putStrLn

deriving instance Show (Expr a)
pattern P x = Just x
x `op` y = x
f, g :: Int
f = 1
g = 2
foreign import ccall "math.h sin" c_sin :: Double -> Double
""",
    """
module Data.Foo 2-2
function add 7-10
function add.helper 10-10
function <+> 13-14
function constant 16-17
type Shape 20-21
constant Shape.Circle 20-20
property Shape.Circle.radius 20-20
property Shape.Circle.name 20-20
constant Shape.Square 20-20
type Id 22-22
property Id.unId 22-22
type Name 23-23
type F 24-25
type D 26-26
type Expr 27-29
constant Expr.Lit 28-28
constant Expr.Add 29-29
trait MonadLog 31-34
type MonadLog.Out 32-32
method MonadLog.logIt 33-34
method IO.logIt 37-37
constant P 40-40
function op 41-41
function f 42-42
function g 42-42
function f 43-43
function g 44-44
declaration c_sin 45-45
""",
)

snippet(
    "list.zig",
    """
const std = @import("std");
pub const limit: u32 = 10;
var counter: usize = 0;
const Allocator = std.mem.Allocator;

/// A list. Grows.
pub const List = struct {
    items: []u8,
    len: usize = 0,

    pub const Error = error{ OutOfMemory, Bad };
    const Self = @This();

    /// Makes one.
    pub fn init(allocator: Allocator) !Self {
        return .{};
    }
    fn helper(self: *Self) void { _ = self; }
};

pub const Kind = enum(u8) { a, b = 2, pub fn name(self: Kind) []const u8 { return ""; } };
const Value = union(enum) { int: i32, none };
const Handle = opaque {};
pub fn Queue(comptime T: type) type {
    return struct {
        head: ?*T,
        pub fn push(self: *@This(), v: T) void {}
    };
}
extern "c" fn printf(format: [*:0]const u8, ...) c_int;
export fn entry() void {}
inline fn fast() void {}
test "list grows" {
    try std.testing.expect(true);
}
test List {}
test { _ = List; }
comptime { _ = 1; }
pub usingnamespace @import("x.zig");
""",
    """
constant limit 2-2
variable counter 3-3
struct List 7-19
property List.items 8-8
property List.len 9-9
enum List.Error 11-11
constant List.Error.OutOfMemory 11-11
constant List.Error.Bad 11-11
method List.init 15-17
method List.helper 18-18
enum Kind 21-21
constant Kind.a 21-21
constant Kind.b 21-21
method Kind.name 21-21
struct Value 22-22
property Value.int 22-22
property Value.none 22-22
struct Handle 23-23
struct Queue 24-29
property Queue.head 26-26
method Queue.push 27-27
declaration printf 30-30
function entry 31-31
function fast 32-32
""",
)

snippet(
    "package.json",
    """
{
  "name": "app",
  "scripts": { "build": "tsc", "test": "jest" },
  "dependencies": {
    "react": "^18",
    "@scope/pkg": { "version": "1" }
  },
  "files": ["a", {"b": 1}]
}
""",
    """
key name 2-2
key scripts 3-3
key scripts.build 3-3
key scripts.test 3-3
key dependencies 4-7
key dependencies.react 5-5
key dependencies.@scope/pkg 6-6
key files 8-8
""",
)

snippet(
    "deployment.yaml",
    """
# A deployment. More.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  template:
    spec:
      containers:
        - name: app
          image: x
---
apiVersion: v1
kind: Service
metadata:
  name: svc
"quoted key": 1
? complex
: value
jobs: &x
  build:
    steps:
      - run: make
<<: *x
""",
    """
key Deployment.web 2-13
key Deployment.web.spec 7-13
key Deployment.web.spec.replicas 8-8
key Deployment.web.spec.template 9-13
key Service.svc 14-26
key Service.svc.quoted key 19-19
key Service.svc.complex 20-21
key Service.svc.jobs 22-25
key Service.svc.jobs.build 23-25
""",
)

snippet(
    "Cargo.toml",
    """
# Top. More.
title = "x"
a.b = 1
[package]
name = "app"
[tool.ruff.lint]
select = ["E"]
[[bin]]
name = "one"
[[bin]]
name = "two"
[dependencies]
serde = { version = "1", features = ["x"] }
"quoted.key" = 1
""",
    """
key title 2-2
key a.b 3-3
key package 4-5
key package.name 5-5
key tool.ruff.lint 6-7
key tool.ruff.lint.select 7-7
key bin 8-9
key bin.name 9-9
key dependencies 12-14
key dependencies.serde 13-13
key dependencies.quoted.key 14-14
""",
)

snippet(
    "main.tf",
    """
terraform {
  required_version = ">= 1"
  backend "s3" {}
}
provider "aws" {
  region = var.region
}
# The web server. Big.
resource "aws_instance" "web" {
  ami = data.aws_ami.x.id
  lifecycle { ignore_changes = [] }
}
data "aws_ami" "x" {
  owners = ["self"]
}
module "vpc" {
  source = "./vpc"
}
variable "region" {
  type        = string
  description = "Where it runs. Required."
}
output "id" { value = 1 }
locals {
  name = "x"
  tags = {
    a = 1
  }
}
moved {
  from = a
  to = b
}
check "health" {}
region = "eu"
""",
    """
key terraform 1-4
key provider.aws 5-7
key aws_instance.web 9-12
key data.aws_ami.x 13-15
module module.vpc 16-18
variable var.region 19-22
variable output.id 23-23
variable local.name 25-25
variable local.tags 26-28
key moved 30-33
key check.health 34-34
key region 35-35
""",
)

snippet(
    "index.html",
    """
<!DOCTYPE html>
<html>
<head>
  <title>My page</title>
  <style>
    .a { color: red; }
  </style>
  <script src="x.js"></script>
</head>
<body id="top">
  <!-- Main. More. -->
  <h1>Welcome <em>home</em></h1>
  <section id="intro" class="x">
    <h2 id="about">About us</h2>
    <my-widget name="a"><p>hi</p></my-widget>
    <form id="login" name="f"><input id="user" name="user"></form>
  </section>
  <template id="row"><tr></tr></template>
  <script>
    function go() {}
  </script>
</body>
</html>
""",
    """
key top 10-22
key intro 13-17
key about 14-14
key login 16-16
key user 16-16
key row 18-18
""",
)

snippet(
    "site.css",
    """
@import "x.css";
@charset "utf-8";
:root {
  --main-color: red;
  --gap: 4px;
}
/* Buttons. More. */
.btn, .btn-primary:hover > a[href] {
  color: var(--main-color);
}
#app h1::before { content: ""; }
@media (min-width: 600px) {
  .btn { padding: 0; }
}
@keyframes spin { from { a: 0; } to { a: 1; } }
@font-face { font-family: "X"; }
@supports (display: grid) { .grid { display: grid; } }
@layer base { a { color: blue; } }
.parent { .child { color: red; } &:hover { color: blue; } }
@page :first { margin: 1in; }
@container sidebar (min-width: 400px) { .card { x: y; } }
""",
    """
variable --main-color 4-4
variable --gap 5-5
key btn 8-10
key btn-primary 8-10
key app 11-11
key spin 15-15
key grid 17-17
key parent 19-19
key child 19-19
key card 21-21
""",
)

snippet(
    "schema.sql",
    """
-- Users. More.
CREATE TABLE IF NOT EXISTS app.users (
  id SERIAL PRIMARY KEY,
  "Email" VARCHAR(255) NOT NULL,
  CONSTRAINT fk FOREIGN KEY (id) REFERENCES x(id),
  price numeric(10, 2) DEFAULT 0
);
CREATE OR REPLACE VIEW active AS SELECT * FROM users;
CREATE MATERIALIZED VIEW mv AS SELECT 1;
CREATE UNIQUE INDEX idx_email ON users (email);
CREATE FUNCTION add(a int, b int) RETURNS int AS $$
BEGIN
    RETURN a + b; -- it's fine
END;
$$ LANGUAGE plpgsql;
CREATE OR REPLACE PROCEDURE do_it(x int) LANGUAGE SQL AS $$ SELECT 1 $$;
CREATE TRIGGER trg BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE SEQUENCE s;
CREATE SCHEMA app;
CREATE EXTENSION pgcrypto;
CREATE ROLE admin;
CREATE DATABASE db;
ALTER TABLE users ADD COLUMN age int;
INSERT INTO users VALUES (1);
CREATE POLICY p ON users USING (true);
CREATE TABLE [dbo].[Album] ([Id] INT NOT NULL);
CREATE TABLE `t` (`a` int);
DELIMITER //
CREATE DEFINER=`root`@`%` PROCEDURE refill(IN n INT)
BEGIN
  IF n > 0 THEN UPDATE stock SET amount = n; END IF;
  CREATE TEMPORARY TABLE scratch (x int);
END //
DELIMITER ;
/* CREATE TABLE no_such (x int); */
INSERT INTO t VALUES ('CREATE TABLE no_such (x int);');
""",
    """
struct app.users 2-7
property app.users.id 3-3
property app.users.Email 4-4
property app.users.price 6-6
struct active 8-8
struct mv 9-9
key idx_email 10-10
function add 11-15
function do_it 16-16
key trg 17-17
enum mood 18-18
key s 19-19
namespace app 20-20
key pgcrypto 21-21
key admin 22-22
key db 23-23
property users.age 24-24
key p 26-26
struct dbo.Album 27-27
property dbo.Album.Id 27-27
struct t 28-28
property t.a 28-28
function refill 30-34
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
        (
            "Source.kt",
            "List.second",
            "internal suspend inline fun <reified T> List<T>.second(block: () -> Unit): T?",
            "",
        ),
        ("Source.kt", "Source.create", "@JvmStatic fun create(): Source<Int>", ""),
        (
            "Session.swift",
            "Session",
            "public final class Session<T>: Base, Sendable where T: Codable",
            "Talks to a server.",
        ),
        ("Reader.scala", "Reader.read", "def read(n: Int)(implicit ec: ExecutionContext): Option[A]", ""),
        ("deploy.sh", "usage", "usage()", "Prints help."),
        ("client.lua", "M.send", "function M.send(url, opts)", "Sends it."),
        ("lib/accounts.ex", "MyApp.Accounts", "defmodule MyApp.Accounts", "The accounts."),
        ("lib/accounts.ex", "MyApp.Accounts.create", "def create(attrs \\\\ %{})", "Creates a user."),
        ("lib/accounts.ex", "MyApp.Accounts.check", "defp check(x), do: x", "Private one."),
        ("Shape.hs", "add", "add :: Int -> Int -> Int", "Adds two."),
        ("Shape.hs", "Shape", "data Shape = Circle { radius :: Double, name :: String } | Square Double", "A shape."),
        ("list.zig", "List.init", "pub fn init(allocator: Allocator) !Self", "Makes one."),
        ("main.tf", "aws_instance.web", 'resource "aws_instance" "web"', "The web server."),
        ("main.tf", "var.region", 'variable "region"', "Where it runs."),
        ("site.css", "btn", ".btn, .btn-primary:hover > a[href]", "Buttons."),
        ("schema.sql", "app.users", "CREATE TABLE IF NOT EXISTS app.users", "Users."),
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


def test_clauses_of_one_function_are_one_symbol():
    code = "fact 0 = 1\nfact n = n * fact (n - 1)\n\n\n\nother = 2\nfact' = fact\n"
    assert [(s.name, s.start_line, s.end_line) for s in read_symbols("a.hs", code)] == [
        ("fact", 1, 2), ("other", 6, 6), ("fact'", 7, 7),
    ]  # fmt: skip


def test_a_value_that_is_set_again_is_one_symbol():
    symbols = read_symbols("a.sh", "x=1\nx=2\nx() { :; }\n")
    assert [(s.kind, s.start_line) for s in symbols] == [("variable", 1), ("function", 3)]


def test_a_data_file_gives_its_upper_keys_only():
    entries = ",\n".join(f'"k{n}": {{"a": 1, "b": 2}}' for n in range(150))
    symbols = read_symbols("data.json", f"{{{entries}}}\n")
    assert len(symbols) == KEY_LIMIT
    assert sum("." not in s.qualname for s in symbols) == 150


def test_a_key_may_hold_dots():
    names = [(s.name, s.qualname) for s in read_symbols("package.json", '{"exports": {"./lib/a.js": "a"}}')]
    assert names == [("exports", "exports"), ("./lib/a.js", "exports../lib/a.js")]


@pytest.mark.parametrize(
    ("path", "code", "expected"),
    [
        (
            "a.cs",
            "namespace A.B;\n\npublic class C { void M() {} }\n",
            ["namespace A.B", "class A.B.C", "method A.B.C.M"],
        ),
        ("a.rb", "Point = Struct.new(:x) do\n  def go; end\nend\n", ["class Point", "method Point.go"]),
        ("a.rb", "class A\n  has_many :rows\nend\n", ["class A", "property A.rows"]),
        ("a.rs", 'extern "C" {\n    fn sin(x: f64) -> f64;\n}\n', ["declaration sin"]),
        ("a.js", "Foo.prototype = {\n  bar() {},\n};\n", ["method Foo.bar"]),
        ("a.c", "extern int verbose;\nint depth = 1;\n", ["declaration verbose", "variable depth"]),
        (
            "a.h",
            "class A {\n  virtual int go() = 0;\n  int stop();\n};\n",
            ["class A", "method A.go", "declaration A.stop"],
        ),
    ],
)
def test_definitions_that_differ_by_a_detail(path, code, expected):
    assert [f"{s.kind} {s.qualname}" for s in read_symbols(path, code)] == expected


def test_names_that_macros_define():
    code = "TEST_F(CacheTest, Evicts) {\n  run();\n}\n\nTEST_IMPL(timer) {\n  run();\n}\n"
    assert [(s.kind, s.qualname) for s in read_symbols("a.cc", code)] == [
        ("method", "CacheTest.Evicts"), ("function", "timer"),
    ]  # fmt: skip


def test_names_of_c_are_global_also_where_a_macro_hides_the_end_of_a_struct():
    code = """struct loop_s {
  void* data;
  LOOP_PRIVATE_FIELDS
};

EXTERN int loop_start(loop_t* loop,
                      int when);
int loop_stop(loop_t* loop) {
  return 0;
}
"""
    names = [symbol.qualname for symbol in read_symbols("include/loop.h", code)]
    assert names == ["loop_s", "loop_s.data", "loop_start", "loop_stop"]


def test_attributes_that_macros_name_are_no_part_of_a_name():
    code = """namespace log {
void LOG_INLINE thread_pool::post(message &&one) {
  push(one);
}
LOG_INLINE bool thread_pool::process() { return true; }
LOG_INLINE thread_pool::thread_pool(size_t n) : n_(n) {}
struct entry { ENTRY_MASK flags; };
#define LOG_NAME log_name
}
"""
    assert [symbol.qualname for symbol in read_symbols("a.cpp", code)] == [
        "log", "log.thread_pool.post", "log.thread_pool.process", "log.thread_pool.thread_pool", "log.entry",
        "log.entry.flags", "log.LOG_NAME",
    ]  # fmt: skip


def test_a_type_in_capitals_stays_where_nothing_is_hidden():
    code = "static MY_TYPE make_one(OTHER_TYPE x) {\n  return x;\n}\n"
    (symbol,) = read_symbols("a.c", code)
    assert symbol.signature.startswith("static MY_TYPE make_one(OTHER_TYPE x)")


@pytest.mark.parametrize("name", ["is_operator", "operator_of", "operators"])
def test_a_name_may_hold_the_word_operator(name):
    assert [symbol.qualname for symbol in read_symbols("a.py", f"def {name}():\n    pass\n")] == [name]


def test_yaml_that_nests_deeper_than_its_scanner_is_cut_by_lines():
    deep = "".join(" " * level + f"k{level}:\n" for level in range(400))
    document = Document(SOURCE, "deep.yaml", None, "deep.yaml", deep, "0", "yaml")
    result = chunk_with_reason(document, chunk_chars=1500)
    assert result.fallback == "too_deep"
    assert result.chunks
