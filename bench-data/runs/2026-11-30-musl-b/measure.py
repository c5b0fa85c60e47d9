# measure.py ROUNDS NAME=PROGRAM...: beside the program with glibc and that of the package; the paths are those of the machine it ran on.
import subprocess,time,statistics,os,shutil,sys
B=[('glibc','/work/main/target/release/multi-sync'),('mimalloc','/tmp/x/s10/musl-mi')]+[tuple(a.split('=')) for a in sys.argv[2:]]
W='/dev/shm/mu';os.makedirs(W,exist_ok=True)
env=dict(os.environ,XDG_STATE_HOME=W+'/state',TMPDIR=W)
subprocess.run(['/work/main/target/release/examples/maketree','/work/main/bench-data/bench-1m.json',W+'/tree','1','0.2'],check=True,stdout=subprocess.DEVNULL)
def t(argv):
    a=time.monotonic();subprocess.run(argv,check=True,stdout=subprocess.DEVNULL,stderr=subprocess.DEVNULL,env=env);return time.monotonic()-a
R={}
for r in range(int(sys.argv[1])):
    for n,p in B[r%len(B):]+B[:r%len(B)]:
        shutil.rmtree(W+'/b',ignore_errors=True);os.makedirs(W+'/b')
        R.setdefault(('scan',n),[]).append(t([p,'-d','-k','-b',W+'/b',W+'/tree/',W+'/none/']))
        R.setdefault(('survey',n),[]).append(t([p,'survey',W+'/tree/']))
        if r<6:
            shutil.rmtree(W+'/copy',ignore_errors=True)
            R.setdefault(('copy',n),[]).append(t([p,'-p','2',W+'/tree/',W+'/copy/']))
            R.setdefault(('nothing',n),[]).append(t([p,'-p','2',W+'/tree/',W+'/copy/']))
            d=subprocess.run(['rsync','-ain','--delete',W+'/tree/',W+'/copy/'],capture_output=True,text=True).stdout
            assert d=='',d[:200]
for k in ('scan','survey','copy','nothing'):
    g=R[(k,'glibc')]
    for n,_ in B[1:]:
        m=R[(k,n)]
        print(k,'glibc %.3f'%statistics.median(g),n,'%.3f'%statistics.median(m),'ratio %.3f'%(statistics.median(m)/statistics.median(g)),'pairs %.3f'%statistics.median([b/a for a,b in zip(g,m)]),len(g),'rounds',flush=True)
shutil.rmtree(W)
