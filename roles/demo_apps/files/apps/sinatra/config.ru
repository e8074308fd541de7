# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# frozen_string_literal: true

# A wall of notes, in Sinatra. Any Rack server runs it; Puma tells it more about itself.

require "etc"
require "json"
require "sinatra/base"
require "socket"

# The whole application.
class Wall < Sinatra::Base
  WHOAMI = ENV.fetch("WHOAMI", "/srv/weblab/whoami")
  HERE = File.dirname(File.realpath(__FILE__))
  KEPT = 20
  LOCK = Mutex.new
  NOTES = []

  set :show_exceptions, false
  set :host_authorization, {permitted_hosts: []}
  @requests = 0
  class << self
    attr_accessor :requests
  end

  before do
    LOCK.synchronize { Wall.requests += 1 }
    headers "X-Content-Type-Options" => "nosniff"
  end

  helpers do
    def h(text)
      Rack::Utils.escape_html(text.to_s)
    end

    def texts
      @texts ||= JSON.parse(File.read("#{HERE}/../texts.json", encoding: "utf-8"))
    end

    # Puts HTML into a page's {{places}}.
    def fill(template, parts)
      template.gsub(/\{\{(\w+)\}\}/) { parts.fetch(Regexp.last_match(1), "") }
    end

    def small(path)
      File.binread(path).tr("\0", " ").strip
    rescue SystemCallError
      nil
    end

    def listens
      io = env["puma.socket"]&.to_io
      address = io&.local_address
      address && (address.unix? ? address.unix_path : "#{address.ip_address}:#{address.ip_port}")
    rescue SystemCallError, SocketError
      nil
    end

    def facts
      socket = listens
      {
        site: ENV["WEBLAB_SITE"], stack: ENV["WEBLAB_STACK"], language: "Ruby #{RUBY_VERSION}",
        server_software: env["SERVER_SOFTWARE"], sapi: "Sinatra #{Sinatra::VERSION}", gateway: "http", mpm: nil,
        pid: Process.pid, ppid: Process.ppid, thread: Thread.current.native_thread_id,
        threads: small("/proc/self/status")&.slice(/^Threads:\s*(\d+)/, 1)&.to_i, worker: nil, pool: nil,
        requests: Wall.requests, process: small("/proc/self/cmdline"), parent: small("/proc/#{Process.ppid}/comm"),
        user: Etc.getpwuid(Process.euid).name, uid: Process.euid, group: Etc.getgrgid(Process.egid).name,
        peer: env["HTTP_X_FORWARDED_FOR"], socket: socket, socket_known_from: socket && "kernel",
        hostname: Socket.gethostname, script_name: request.script_name, path_info: request.path_info,
        nonce: params.fetch("nonce", "").to_s[0, 64].then { |nonce| nonce.empty? ? nil : nonce }, time: Time.now.to_f.round(3)
      }
    end
  end

  get "/" do
    notes = LOCK.synchronize { NOTES.dup }
    notes = [texts["nothing"]] if notes.empty?
    body = "<ul>#{notes.map { |note| "<li>#{h(note)}</li>" }.join}</ul>" \
           "<form method=post><input name=text maxlength=500 aria-label='#{h(texts["say"])}' placeholder='#{h(texts["say"])}'>" \
           "<button>#{h(texts["send"])}</button></form>"
    parts = {"lang" => "lang", "title" => "wall", "lead" => "wall_lead", "whoami" => "whoami"}.transform_values { |key| h(texts[key]) }
    content_type :html
    fill(File.read("#{HERE}/../page.html", encoding: "utf-8"), parts.merge("body" => body))
  end

  post "/" do
    text = params.fetch("text", "").to_s.strip[0, 500]
    LOCK.synchronize { NOTES.push(text).shift([NOTES.size - KEPT, 0].max) } unless text.empty?
    redirect to("/"), 303
  end

  get "/whoami" do
    found = facts
    headers "Cache-Control" => "no-store", "Vary" => "Accept"
    wanted = params["format"]
    if wanted == "json" || (wanted != "html" && env["HTTP_ACCEPT"].to_s.include?("application/json"))
      headers "Content-Type" => "application/json"
      return JSON.generate(found)
    end
    words = File.exist?("#{WHOAMI}/messages.json") ? JSON.parse(File.read("#{WHOAMI}/messages.json", encoding: "utf-8")) : {}
    rows = found.map do |key, value|
      shown = value.nil? ? "<em>#{h(words.fetch("unknown", "unknown"))}</em>" : "<code>#{h(value)}</code>"
      "<tr><th scope=row>#{h(words.fetch(key.to_s, key))}</th><td>#{shown}</td></tr>\n"
    end
    parts = {"lang" => "en", "title" => "Who served me", "lead" => ""}.to_h { |key, other| [key, h(words.fetch(key, other))] }
    page = File.exist?("#{WHOAMI}/page.html") ? File.read("#{WHOAMI}/page.html", encoding: "utf-8") : "<table>{{rows}}</table>"
    content_type :html
    fill(page, parts.merge("rows" => rows.join))
  end
end

run Wall
