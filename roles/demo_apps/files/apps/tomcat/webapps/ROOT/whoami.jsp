<%-- Copyright: (c) 2026, the weblab.stacks maintainers
     GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
     SPDX-License-Identifier: GPL-3.0-or-later

     Who served me: the same keys as on the other stacks. --%><%@ page session="false" trimDirectiveWhitespaces="true"
     import="java.nio.charset.StandardCharsets, java.nio.file.*, java.util.*, java.util.concurrent.atomic.AtomicLong,
             java.util.regex.*" %><%!
    private static final AtomicLong COUNT = new AtomicLong();
    private static final Pattern TEXT = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)*)\"");

    private static String read(String path) {
        try {
            return new String(Files.readAllBytes(Path.of(path)), StandardCharsets.UTF_8).replace('\0', ' ').strip();
        } catch (java.io.IOException error) {
            return null;
        }
    }

    private static String status(String field) {
        String text = read("/proc/self/status");
        Matcher found = Pattern.compile("^" + field + ":\\s*(\\S+)", Pattern.MULTILINE).matcher(text == null ? "" : text);
        return found.find() ? found.group(1) : null;
    }

    private static String group(String gid) {
        String text = read("/etc/group");
        for (String line : (text == null ? "" : text).split("\n")) {
            String[] fields = line.split(":");
            if (fields.length > 2 && fields[2].equals(gid)) {
                return fields[0];
            }
        }
        return gid;
    }

    private static String quoted(Object value) {
        if (value == null || value instanceof Number) {
            return String.valueOf(value);
        }
        StringBuilder text = new StringBuilder("\"");
        for (char letter : value.toString().toCharArray()) {
            if (letter == '"' || letter == '\\') {
                text.append('\\').append(letter);
            } else if (letter < ' ') {
                text.append(String.format("\\u%04x", (int) letter));
            } else {
                text.append(letter);
            }
        }
        return text.append('"').toString();
    }

    private static String escaped(Object value) {
        return String.valueOf(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;")
            .replace("'", "&#39;");
    }

    private static String or(String value, String other) {
        return value == null ? other : value;
    }

    // The catalogue is one flat object of texts.
    private static Map<String, String> words(String directory) {
        Map<String, String> found = new HashMap<>();
        Matcher pair = TEXT.matcher(or(read(directory + "/messages.json"), ""));
        while (pair.find()) {
            found.put(pair.group(1), pair.group(2).replace("\\\"", "\"").replace("\\\\", "\\"));
        }
        return found;
    }
%><%
    ProcessHandle self = ProcessHandle.current();
    Long parent = self.parent().map(ProcessHandle::pid).orElse(null);
    String nonce = request.getParameter("nonce");
    Map<String, Object> found = new LinkedHashMap<>();
    found.put("site", System.getenv("WEBLAB_SITE"));
    found.put("stack", System.getenv("WEBLAB_STACK"));
    found.put("language", "Java " + System.getProperty("java.version"));
    found.put("server_software", null);
    found.put("sapi", application.getServerInfo().replace("Apache Tomcat/", "Tomcat "));
    found.put("gateway", "http");
    found.put("mpm", null);
    found.put("pid", self.pid());
    found.put("ppid", parent);
    found.put("thread", null);
    found.put("threads", Optional.ofNullable(status("Threads")).map(Integer::valueOf).orElse(null));
    found.put("worker", null);
    found.put("pool", null);
    found.put("requests", COUNT.incrementAndGet());
    found.put("process", read("/proc/self/cmdline"));
    found.put("parent", read("/proc/" + parent + "/comm"));
    found.put("user", System.getProperty("user.name"));
    found.put("uid", Optional.ofNullable(status("Uid")).map(Integer::valueOf).orElse(null));
    found.put("group", group(status("Gid")));
    found.put("peer", request.getHeader("X-Forwarded-For"));
    found.put("socket", request.getLocalAddr() + ":" + request.getLocalPort());
    found.put("socket_known_from", "kernel");
    found.put("hostname", read("/proc/sys/kernel/hostname"));
    found.put("script_name", request.getContextPath());
    found.put("path_info", request.getServletPath());
    found.put("nonce", nonce == null || nonce.isEmpty() ? null : nonce.substring(0, Math.min(64, nonce.length())));
    found.put("time", System.currentTimeMillis() / 1000.0);

    response.setHeader("Cache-Control", "no-store");
    response.setHeader("Vary", "Accept");
    response.setHeader("X-Content-Type-Options", "nosniff");
    String wanted = request.getParameter("format");
    if ("json".equals(wanted) || (!"html".equals(wanted) && or(request.getHeader("Accept"), "").contains("application/json"))) {
        StringJoiner pairs = new StringJoiner(", ", "{", "}");
        found.forEach((key, value) -> pairs.add(quoted(key) + ": " + quoted(value)));
        byte[] body = pairs.toString().getBytes(StandardCharsets.UTF_8);
        response.setContentType("application/json");
        response.setContentLength(body.length);
        response.getOutputStream().write(body);
        return;
    }
    String directory = or(System.getenv("WHOAMI"), "/srv/weblab/whoami");
    Map<String, String> words = words(directory);
    StringBuilder rows = new StringBuilder();
    found.forEach((key, value) -> rows.append("<tr><th scope=row>").append(escaped(words.getOrDefault(key, key))).append("</th><td>")
        .append(value == null ? "<em>" + escaped(words.getOrDefault("unknown", "unknown")) + "</em>" : "<code>" + escaped(value) + "</code>")
        .append("</td></tr>\n"));
    byte[] body = or(read(directory + "/page.html"), "<table>{{rows}}</table>")
        .replace("{{lang}}", escaped(words.getOrDefault("lang", "en")))
        .replace("{{title}}", escaped(words.getOrDefault("title", "Who served me")))
        .replace("{{lead}}", escaped(words.getOrDefault("lead", "")))
        .replace("{{rows}}", rows).getBytes(StandardCharsets.UTF_8);
    response.setContentType("text/html;charset=utf-8");
    response.setContentLength(body.length);
    response.getOutputStream().write(body);
    response.flushBuffer();
    if (response.isCommitted()) {
        return; // The line break at the end of this file is no part of the answer.
    }
%>
